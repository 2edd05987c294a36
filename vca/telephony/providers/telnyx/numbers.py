"""Phone numbers at Telnyx: point them at VCA, and tag them with their tenant."""

from typing import Any
from uuid import UUID

from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx import api
from vca.telephony.providers.telnyx.api import ApiSession
from vca.telephony.types import NumberSetting

_TAG = "vca-tenant:"
_GONE_STATUSES = ("deleted", "ported-out", "port-failed", "purchase-failed")


def tenant_tag(tenant_id: UUID) -> str:
    """Return the tag that marks a number as this tenant's."""
    return f"{_TAG}{tenant_id}"


def find_number(session: ApiSession, did_number: str) -> Any:
    """Return the account's number, or None. Telnyx's filter also matches parts of numbers."""
    page = session(session.client.phone_numbers.list, filter={"phone_number": did_number})
    return next(
        (number for number in api.page_items(page) if _is_active_match(number, did_number)), None
    )


def register(session: ApiSession, tenant_id: UUID, did_number: str, connection_id: str) -> None:
    """Point the number at the application and tag it. Other tags are kept."""
    number = find_number(session, did_number)
    if number is None:
        raise TelephonyError(
            "the account has no such number", permanent=True, code="no-such-number"
        )
    own_tag, tags = tenant_tag(tenant_id), list(number.tags or ())
    if any(tag.startswith(_TAG) and tag != own_tag for tag in tags):
        raise TelephonyError("the number belongs to another tenant", permanent=True, code="foreign")
    if own_tag in tags and number.connection_id == connection_id:
        return
    tags = tags if own_tag in tags else [*tags, own_tag]
    session(session.client.phone_numbers.update, number.id, connection_id=connection_id, tags=tags)


def unregister(session: ApiSession, tenant_id: UUID, did_number: str, connection_id: str) -> None:
    """Remove the tag and, if the number still points at it, the application."""
    number = find_number(session, did_number)
    own_tag = tenant_tag(tenant_id)
    if number is None or own_tag not in (number.tags or ()):
        return
    changes: dict[str, Any] = {"tags": [tag for tag in number.tags if tag != own_tag]}
    if number.connection_id == connection_id:
        changes["connection_id"] = ""
    session(session.client.phone_numbers.update, number.id, **changes)


def compare(number: Any, tenant_id: UUID, connection_id: str) -> tuple[NumberSetting, ...]:
    """Compare the number with what registering it sets."""
    tags = [tag for tag in number.tags or () if tag.startswith(_TAG)]
    return (
        NumberSetting("connection_id", connection_id, number.connection_id or None),
        NumberSetting("tag", tenant_tag(tenant_id), ", ".join(tags) or None),
    )


def _is_active_match(number: Any, did_number: str) -> bool:
    return bool(number.phone_number == did_number and number.status not in _GONE_STATUSES)
