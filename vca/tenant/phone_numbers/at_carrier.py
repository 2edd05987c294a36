"""How a number stands at its carrier: where it is, where it was, and what was last said of it.

The registry of numbers has a copy, so that a ring knows it in one read.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from vca.registry.dids import service as dids
from vca.registry.dids.service import Registration
from vca.telephony.types import CarrierRef
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

# A carrier's own code is told in events, which are small.
_LONGEST_CODE = 100


def ref_of(number: PhoneNumber) -> CarrierRef:
    """The carrier that a number is with."""
    return CarrierRef(number.provider_type, number.telephony_account_id)


def previous_of(number: PhoneNumber) -> CarrierRef | None:
    """The carrier that it has moved from, and may still ring from."""
    previous = number.previous_carrier
    if previous is None:
        return None
    account_id = previous["telephony_account_id"]
    return CarrierRef(previous["provider_type"], account_id and UUID(account_id))


def until(number: PhoneNumber) -> datetime | None:
    """Until when it may ring from there."""
    previous = number.previous_carrier
    return datetime.fromisoformat(previous["until"]) if previous is not None else None


def note_previous(number: PhoneNumber, ref: CarrierRef, *, until: datetime) -> None:
    """The number has moved from there."""
    number.previous_carrier = {
        "provider_type": ref.provider_type,
        "telephony_account_id": str(ref.account_id) if ref.account_id else None,
        "until": until.isoformat(),
    }


def settle(
    session: Session,
    number: PhoneNumber,
    status: str,
    *,
    code: str | None = None,
    detail: str | None = None,
) -> None:
    """Note what has come of the number's registration, and tell of it."""
    number.registration_status = status
    number.registration_code = code = code[:_LONGEST_CODE] if code else None
    number.registration_detail = detail[:500] if detail else None
    session.flush()
    if status in ("registered", "failed"):
        data = {"phone_number_id": number.id, "code": code}
        events.tell(session, Event(f"phone_number.{status}", data))
    copy(session, number)


def copy(session: Session, number: PhoneNumber) -> None:
    """Have the registry know what the number's row says."""
    registration = Registration(
        ref_of(number), number.registration_status, previous_of(number), until(number)
    )
    dids.note(
        session, number=number.did_number, phone_number_id=number.id, registration=registration
    )
