"""Move a number to another carrier: the previous one may deliver calls for 30 days.

Carriers and callers' networks do not switch at the same moment. Until calls arrive through the new
carrier, they must still be accepted from the previous one.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.services import Services
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
    """Keep the carrier that the number has left as its previous carrier.

    An even older carrier is released at once.
    """
    release_previous(session, number)
    until = now + PREVIOUS_CARRIER_TTL
    provider_assignment.set_previous(number, previous_ref, until=until)
    lock = _lock_name(number.id)
    queue.enqueue(session, LEAVE_JOB, run_at=until, lock=lock, phone_number_id=number.id)


def release_previous(session: Session, number: PhoneNumber) -> None:
    """Stop accepting calls from the previous carrier, and schedule the number's release there."""
    previous_ref = provider_assignment.previous_ref(number)
    if previous_ref is None:
        return
    number.previous_carrier = None
    session.flush()
    queue.withdraw(session, lock=_lock_name(number.id))
    registration.request_release(session, number, previous_ref)
    provider_assignment.sync_number_registry(session, number)


def release_if_due(
    tenant: TenantRef, *, services: Services, phone_number_id: UUID, now: datetime
) -> None:
    """Release the previous carrier if its time is over and it was not replaced in the meantime."""
    with tenant_session(tenant, database=services.database) as session:
        number = session.get(PhoneNumber, phone_number_id, with_for_update=True)
        until = provider_assignment.previous_until(number) if number is not None else None
        if number is not None and until is not None and until <= now:
            release_previous(session, number)


def _lock_name(phone_number_id: UUID) -> str:
    return f"{LEAVE_JOB}:{phone_number_id.hex}"
