"""The cells of the table of signed carrier requests."""

from dataclasses import dataclass

from tests.generated.catalogue import Cell, all_operations
from tests.support import payloads, request_payloads
from tests.support.operations import BodyField
from vca.kit import json

# The fields that the fake carrier's adapter parses, by action. They take the long list of payloads.
_PARSED_FIELDS = {"voice": ("to", "from"), "speech": ("text",), "status": ("status", "at", "code")}
_FIELD_NAMES = ("call_id", "to", "from", "state", "text", "status", "at", "code")


@dataclass(frozen=True, repr=False)
class CarrierFieldCell(Cell):
    """A valid request of an action with `raw` as the JSON text of one field."""

    action: str
    field: BodyField
    raw: str


@dataclass(frozen=True, repr=False)
class CarrierBodyCell(Cell):
    """A complete body of an inbound call."""

    body: bytes


def carrier_field_cells() -> list[CarrierFieldCell]:
    operation = next(candidate for candidate in all_operations() if "{action}" in candidate.path)
    texts = {**payloads.TEXTS, **payloads.TIMES, **payloads.NUMBERS}
    short_list = {**payloads.JSON, **payloads.UNREADABLE}
    long_list = short_list | payloads.JSON_ONCE
    long_list |= {kind: json.dumps(text).decode() for kind, text in texts.items()}
    return [
        CarrierFieldCell(
            operation, f"{action}-/{name}", kind, action, BodyField(f"/{name}", {}), raw
        )
        for action, parsed_names in _PARSED_FIELDS.items()
        for name in _FIELD_NAMES
        for kind, raw in (long_list if name in parsed_names else short_list).items()
    ]


def carrier_body_cells() -> list[CarrierBodyCell]:
    operation = next(candidate for candidate in all_operations() if "{action}" in candidate.path)
    return [
        CarrierBodyCell(operation, "voice-body", kind, body)
        for kind, (body, _, _) in request_payloads.BODIES.items()
    ]
