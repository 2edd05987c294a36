"""How large an event may be: receivers read so much, and more says that it is no event."""

from collections.abc import Mapping
from typing import Any

from vca.kit import json

MAX_EVENT_BYTES = 20_000
# For type, time, whose it is and whether it was simulated.
_ENVELOPE_BYTES = 500


def check_size(type: str, data: Mapping[str, Any]) -> None:
    """Raise ValueError for an event that would be sent as more than LARGEST bytes.

    No event of ours is: what is large or a stranger's text is asked of the API by its id.
    """
    size = len(json.dumps(data))
    if size > MAX_EVENT_BYTES - _ENVELOPE_BYTES:
        raise ValueError(f"{type} would be told in {size} bytes: tell ids, not what they name")
