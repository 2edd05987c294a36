"""A number on its way to another carrier: the one before may ring for thirty days, then lets it go.

Carriers and callers' networks do not switch at one moment. Until the number rings where it has
moved to, it must ring where it was.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.telephony.types import CarrierRef
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.phone_numbers import at_carrier, registration
from vca.tenant.phone_numbers.models import PhoneNumber

LEAVE = "phone_numbers.leave"
ACCEPTED = timedelta(days=30)


def begin(session: Session, number: PhoneNumber, *, left: CarrierRef, now: datetime) -> None:
    """The number has moved from there; where it was before that lets it go at once."""
    end(session, number)
    until = now + ACCEPTED
    at_carrier.note_previous(number, left, until=until)
    lock = _lock(number.id)
    jobs.enqueue(session, LEAVE, run_at=until, lock=lock, phone_number_id=number.id)


def end(session: Session, number: PhoneNumber) -> None:
    """The carrier before may not ring any more, and is told to let the number go."""
    left = at_carrier.previous_of(number)
    if left is None:
        return
    number.previous_carrier = None
    session.flush()
    jobs.withdraw(session, lock=_lock(number.id))
    registration.withdraw(session, number, left)
    at_carrier.copy(session, number)


def leave(tenant: TenantRef, *, phone_number_id: UUID, now: datetime) -> None:
    """The time of the carrier before is over, if nothing has changed meanwhile."""
    with enter(tenant) as session:
        number = session.get(PhoneNumber, phone_number_id, with_for_update=True)
        until = at_carrier.until(number) if number is not None else None
        if number is not None and until is not None and until <= now:
            end(session, number)


def _lock(phone_number_id: UUID) -> str:
    return f"{LEAVE}:{phone_number_id.hex}"
