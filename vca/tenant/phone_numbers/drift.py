"""Daily check that a registered number still has its registered settings at the carrier.

Somebody may change a number in the carrier's console. A difference is reported and never corrected,
because the change may be intended.
"""

from datetime import datetime, timedelta
from random import uniform
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock
from vca.observability import log
from vca.services import Services
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
    """Schedule the next check of a registered number unless one is scheduled already."""
    # The jitter spreads the checks of many numbers.
    run_at = now + timedelta(hours=CHECK_INTERVAL_H * uniform(0.9, 1.1))
    lock = f"{CHECK_JOB}:{number.id.hex}"
    queue.enqueue(session, CHECK_JOB, run_at=run_at, lock=lock, phone_number_id=number.id)


def check_drift(tenant: TenantRef, *, services: Services, phone_number_id: UUID) -> None:
    """Compare the number's settings at the carrier; report a difference or check again tomorrow.

    A number that is no longer registered is not checked again until it is registered.
    """
    with tenant_session(tenant, database=services.database) as session:
        if _lock_registered(session, phone_number_id) is None:
            return
    try:
        target = registration_check.find_target(
            tenant, phone_number_id=phone_number_id, services=services
        )
        result = registration_check.query_carrier(tenant, target) if target is not None else None
    except (TelephonyError, registration_check.CarrierNotConfigured) as error:
        number_id = str(phone_number_id)
        log.get_logger().warning(
            "phone_number.not_checked", phone_number_id=number_id, exc_info=error
        )
        target = result = None
    with tenant_session(tenant, database=services.database) as session:
        number = _lock_registered(session, phone_number_id)
        if number is not None:
            _record_result(session, number, target, result)


def _record_result(
    session: Session, number: PhoneNumber, target: CheckTarget | None, result: CheckResult | None
) -> None:
    """Store the result, unless the number was registered anew during the check."""
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
