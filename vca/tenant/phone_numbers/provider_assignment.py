"""How a number stands at its carrier: where it is, where it was, and what was last said of it.

The registry of numbers has a copy, so that a ring knows it in one read.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from vca.registry.number_registry import service as dids
from vca.registry.number_registry.service import Registration
from vca.telephony.types import ProviderAccountRef
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

# A carrier's own code is told in events, which are small.
_MAX_CODE_LENGTH = 100


def current_ref(number: PhoneNumber) -> ProviderAccountRef:
    """The carrier that a number is with."""
    return ProviderAccountRef(number.provider_type, number.telephony_account_id)


def previous_ref(number: PhoneNumber) -> ProviderAccountRef | None:
    """The carrier that it has moved from, and may still ring from."""
    previous = number.previous_carrier
    if previous is None:
        return None
    account_id = previous["telephony_account_id"]
    return ProviderAccountRef(previous["provider_type"], account_id and UUID(account_id))


def previous_until(number: PhoneNumber) -> datetime | None:
    """Until when it may ring from there."""
    previous = number.previous_carrier
    return datetime.fromisoformat(previous["until"]) if previous is not None else None


def set_previous(number: PhoneNumber, ref: ProviderAccountRef, *, until: datetime) -> None:
    """The number has moved from there."""
    number.previous_carrier = {
        "provider_type": ref.provider_type,
        "telephony_account_id": str(ref.account_id) if ref.account_id else None,
        "until": until.isoformat(),
    }


def set_registration_status(
    session: Session,
    number: PhoneNumber,
    status: str,
    *,
    code: str | None = None,
    detail: str | None = None,
) -> None:
    """Note what has come of the number's registration, and tell of it."""
    number.registration_status = status
    number.registration_code = code = code[:_MAX_CODE_LENGTH] if code else None
    number.registration_detail = detail[:500] if detail else None
    session.flush()
    if status in ("registered", "failed"):
        data = {"phone_number_id": number.id, "code": code}
        events.emit(session, Event(f"phone_number.{status}", data))
    sync_number_registry(session, number)


def sync_number_registry(session: Session, number: PhoneNumber) -> None:
    """Have the registry know what the number's row says."""
    registration = Registration(
        current_ref(number),
        number.registration_status,
        previous_ref(number),
        previous_until(number),
    )
    dids.sync_registration(
        session, number=number.did_number, phone_number_id=number.id, registration=registration
    )
