"""A number on its way to another carrier: the one before may ring for thirty days, then lets it go.

Carriers and callers' networks do not switch at one moment. Until the number rings where it has
moved to, it must ring where it was.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import provider_assignment, registration
from vca.tenant.phone_numbers.models import PhoneNumber

LEAVE_JOB = "phone_numbers.leave"
PREVIOUS_CARRIER_TTL = timedelta(days=30)


def start_port(
    session: Session, number: PhoneNumber, *, previous_ref: ProviderAccountRef, now: datetime
) -> None:
    """The number has moved from there; where it was before that lets it go at once."""
    release_previous(session, number)
    until = now + PREVIOUS_CARRIER_TTL
    provider_assignment.set_previous(number, previous_ref, until=until)
    lock = _lock_name(number.id)
    queue.enqueue(session, LEAVE_JOB, run_at=until, lock=lock, phone_number_id=number.id)


def release_previous(session: Session, number: PhoneNumber) -> None:
    """The carrier before may not ring any more, and is told to let the number go."""
    previous_ref = provider_assignment.previous_ref(number)
    if previous_ref is None:
        return
    number.previous_carrier = None
    session.flush()
    queue.withdraw(session, lock=_lock_name(number.id))
    registration.request_release(session, number, previous_ref)
    provider_assignment.sync_number_registry(session, number)


def release_if_due(tenant: TenantRef, *, phone_number_id: UUID, now: datetime) -> None:
    """The time of the carrier before is over, if nothing has changed meanwhile."""
    with tenant_session(tenant) as session:
        number = session.get(PhoneNumber, phone_number_id, with_for_update=True)
        until = provider_assignment.previous_until(number) if number is not None else None
        if number is not None and until is not None and until <= now:
            release_previous(session, number)


def _lock_name(phone_number_id: UUID) -> str:
    return f"{LEAVE_JOB}:{phone_number_id.hex}"
