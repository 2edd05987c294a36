"""Whether a registered number is still at its carrier what it was registered as; asked once a day.

Somebody may change it in the carrier's console. What is found is said, never set right in silence:
whoever changed it may have meant it.
"""

from datetime import datetime, timedelta
from random import uniform
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import clock, jobs, log
from vca.telephony.adapter import TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.phone_numbers import at_carrier, checking
from vca.tenant.phone_numbers.checking import Asked, Checked
from vca.tenant.phone_numbers.models import PhoneNumber

CHECK = "phone_numbers.check"
EVERY_H = 24
DRIFTED = "drifted"


def watch(session: Session, number: PhoneNumber, *, now: datetime) -> None:
    """Have a number that is registered looked at tomorrow, unless that is ordered already."""
    at = now + timedelta(hours=EVERY_H * uniform(0.9, 1.1))  # a fleet is not asked about at once
    lock = f"{CHECK}:{number.id.hex}"
    jobs.enqueue(session, CHECK, run_at=at, lock=lock, phone_number_id=number.id)


def look(tenant: TenantRef, *, phone_number_id: UUID) -> None:
    """Ask the carrier; note what is otherwise, or look again tomorrow.

    A number that is not registered any more is not looked at again until it is.
    """
    with enter(tenant) as session:
        if _registered(session, phone_number_id) is None:
            return
    try:
        asked = checking.find(tenant, phone_number_id=phone_number_id)
        found = checking.ask(tenant, asked) if asked is not None else None
    except (TelephonyError, checking.NoCarrier) as error:
        number_id = str(phone_number_id)
        log.get().warning("phone_number.not_checked", phone_number_id=number_id, exc_info=error)
        asked = found = None
    with enter(tenant) as session:
        number = _registered(session, phone_number_id)
        if number is not None:
            _note(session, number, asked, found)


def _note(
    session: Session, number: PhoneNumber, asked: Asked | None, found: Checked | None
) -> None:
    """Of a number that was ordered anew meanwhile nothing was learnt."""
    now = clock.now()
    if asked is not None and found is not None and asked.round == number.registration_round:
        number.registration_checked_at = found.checked_at
        if not found.agrees:
            at_carrier.settle(session, number, "failed", code=DRIFTED, detail=found.why_not)
            return
    watch(session, number, now=now)


def _registered(session: Session, phone_number_id: UUID) -> PhoneNumber | None:
    number = session.get(PhoneNumber, phone_number_id, with_for_update=True)
    standing = number is not None and number.registration_status == "registered"
    return number if standing else None
