"""The carrier that a number is assigned to, the previous carrier, and the registration status.

The number registry has a copy, so that an inbound call needs one read.
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

# A carrier's error code is part of webhook events, whose size is limited.
_MAX_CODE_LENGTH = 100


def current_ref(number: PhoneNumber) -> ProviderAccountRef:
    """Return the carrier account that the number is assigned to."""
    return ProviderAccountRef(number.provider_type, number.telephony_account_id)


def previous_ref(number: PhoneNumber) -> ProviderAccountRef | None:
    """Return the carrier account that the number has moved from, if it may still deliver calls."""
    previous = number.previous_carrier
    if previous is None:
        return None
    account_id = previous["telephony_account_id"]
    return ProviderAccountRef(previous["provider_type"], account_id and UUID(account_id))


def previous_until(number: PhoneNumber) -> datetime | None:
    """Return the time until which the previous carrier may deliver calls."""
    previous = number.previous_carrier
    return datetime.fromisoformat(previous["until"]) if previous is not None else None


def set_previous(number: PhoneNumber, ref: ProviderAccountRef, *, until: datetime) -> None:
    """Record the carrier account that the number has moved from."""
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
    """Store the number's registration status and emit an event for a final one.

    `code` and `detail` are the carrier's reason. The events are `phone_number.registered` and
    `phone_number.failed`.
    """
    number.registration_status = status
    number.registration_code = code = code[:_MAX_CODE_LENGTH] if code else None
    number.registration_detail = detail[:500] if detail else None
    session.flush()
    if status in ("registered", "failed"):
        data = {"phone_number_id": number.id, "code": code}
        events.emit(session, Event(f"phone_number.{status}", data))
    sync_number_registry(session, number)


def sync_number_registry(session: Session, number: PhoneNumber) -> None:
    """Copy the number's carrier and registration status to the number registry."""
    registration = Registration(
        current_ref(number),
        number.registration_status,
        previous_ref(number),
        previous_until(number),
    )
    dids.sync_registration(
        session, number=number.did_number, phone_number_id=number.id, registration=registration
    )
