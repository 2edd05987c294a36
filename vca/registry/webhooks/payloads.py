"""The maximum size of an event; receivers accept bodies of limited size."""

from collections.abc import Mapping
from typing import Any

from vca.kit import json

MAX_EVENT_BYTES = 20_000
# For the type, the time, the tenant's id and the simulated flag.
_ENVELOPE_BYTES = 500


def check_size(type: str, data: Mapping[str, Any]) -> None:
    """Raise ValueError for an event that would exceed MAX_EVENT_BYTES.

    No event of the product does: receivers get large or external texts from the API by id.
    """
    size = len(json.dumps(data))
    if size > MAX_EVENT_BYTES - _ENVELOPE_BYTES:
        raise ValueError(f"{type} would be sent in {size} bytes: send ids instead of contents")
