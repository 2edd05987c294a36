"""Numbers of the account: pointed at VCA, and tagged as a tenant's."""

from typing import Any
from uuid import UUID

from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import Asking
from vca.telephony.types import Held

_TAG = "vca-tenant:"
_GONE = ("deleted", "ported-out", "port-failed", "purchase-failed")


def tag_of(tenant_id: UUID) -> str:
    """What says at Telnyx whose a number is."""
    return f"{_TAG}{tenant_id}"


def find(ask: Asking, did_number: str) -> Any:
    """The account's number; None if it has no such one. Telnyx's filter finds parts as well."""
    page = ask(ask.client.phone_numbers.list, filter={"phone_number": did_number})
    return next((one for one in api.items(page) if _is(one, did_number)), None)


def register(ask: Asking, tenant_id: UUID, did_number: str, connection_id: str) -> None:
    """Point the number at the application and tag it; what others have tagged stays."""
    number = find(ask, did_number)
    if number is None:
        raise TelephonyError(
            "the account has no such number", permanent=True, code="no-such-number"
        )
    own, tags = tag_of(tenant_id), list(number.tags or ())
    if any(tag.startswith(_TAG) and tag != own for tag in tags):
        raise TelephonyError("the number is another tenant's", permanent=True, code="foreign")
    if own in tags and number.connection_id == connection_id:
        return
    tags = tags if own in tags else [*tags, own]
    ask(ask.client.phone_numbers.update, number.id, connection_id=connection_id, tags=tags)


def unregister(ask: Asking, tenant_id: UUID, did_number: str, connection_id: str) -> None:
    """Take away the tag and, where it is still ours, the application."""
    number = find(ask, did_number)
    own = tag_of(tenant_id)
    if number is None or own not in (number.tags or ()):
        return
    changed: dict[str, Any] = {"tags": [tag for tag in number.tags if tag != own]}
    if number.connection_id == connection_id:
        changed["connection_id"] = ""
    ask(ask.client.phone_numbers.update, number.id, **changed)


def held(number: Any, tenant_id: UUID, connection_id: str) -> tuple[Held, ...]:
    """The number beside what registering it sets."""
    tags = [tag for tag in number.tags or () if tag.startswith(_TAG)]
    return (
        Held("connection_id", connection_id, number.connection_id or None),
        Held("tag", tag_of(tenant_id), ", ".join(tags) or None),
    )


def _is(number: Any, did_number: str) -> bool:
    return bool(number.phone_number == did_number and number.status not in _GONE)
