"""Whether a registered number is still at its carrier what it was registered as; asked once a day.

Somebody may change it in the carrier's console. What is found is said, never set right in silence:
whoever changed it may have meant it.
"""

from datetime import datetime, timedelta
from random import uniform
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock
from vca.observability import log
from vca.telephony.adapter import TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import provider_assignment, registration_check
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.phone_numbers.registration_check import CheckResult, CheckTarget

CHECK_JOB = "phone_numbers.check"
CHECK_INTERVAL_H = 24
DRIFTED = "drifted"


def schedule_check(session: Session, number: PhoneNumber, *, now: datetime) -> None:
    """Have a number that is registered looked at tomorrow, unless that is ordered already."""
    run_at = now + timedelta(
        hours=CHECK_INTERVAL_H * uniform(0.9, 1.1)
    )  # a fleet is not asked about at once
    lock = f"{CHECK_JOB}:{number.id.hex}"
    queue.enqueue(session, CHECK_JOB, run_at=run_at, lock=lock, phone_number_id=number.id)


def check_drift(tenant: TenantRef, *, phone_number_id: UUID) -> None:
    """Ask the carrier; note what is otherwise, or look again tomorrow.

    A number that is not registered any more is not looked at again until it is.
    """
    with tenant_session(tenant) as session:
        if _lock_registered(session, phone_number_id) is None:
            return
    try:
        target = registration_check.find_target(tenant, phone_number_id=phone_number_id)
        result = registration_check.query_carrier(tenant, target) if target is not None else None
    except (TelephonyError, registration_check.CarrierNotConfigured) as error:
        number_id = str(phone_number_id)
        log.get_logger().warning(
            "phone_number.not_checked", phone_number_id=number_id, exc_info=error
        )
        target = result = None
    with tenant_session(tenant) as session:
        number = _lock_registered(session, phone_number_id)
        if number is not None:
            _record_result(session, number, target, result)


def _record_result(
    session: Session, number: PhoneNumber, target: CheckTarget | None, result: CheckResult | None
) -> None:
    """Of a number that was ordered anew meanwhile nothing was learnt."""
    now = clock.now()
    if (
        target is not None
        and result is not None
        and target.registration_round == number.registration_round
    ):
        number.registration_checked_at = result.checked_at
        if not result.agrees:
            provider_assignment.set_registration_status(
                session, number, "failed", code=DRIFTED, detail=result.mismatch_reason
            )
            return
    schedule_check(session, number, now=now)


def _lock_registered(session: Session, phone_number_id: UUID) -> PhoneNumber | None:
    number = session.get(PhoneNumber, phone_number_id, with_for_update=True)
    is_registered = number is not None and number.registration_status == "registered"
    return number if is_registered else None
