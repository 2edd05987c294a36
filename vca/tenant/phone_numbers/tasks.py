"""Jobs of phone numbers. No transaction is open while a carrier is called."""

from typing import Any
from uuid import UUID

from vca.jobs import lanes, queue
from vca.kit import clock
from vca.registry.usage import periods
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import drift, number_metering, porting, registration
from vca.tenant.phone_numbers.drift import CHECK_JOB
from vca.tenant.phone_numbers.number_metering import COUNT_JOB
from vca.tenant.phone_numbers.porting import LEAVE_JOB
from vca.tenant.phone_numbers.registration import REGISTER_JOB, UNREGISTER_JOB, RegistrationJob
from vca.tenant.telephony_accounts import adapter_lookup


@queue.task(REGISTER_JOB, lane=lanes.DELIVERIES)
def register(tenant_id: str, *, services: Services, **arguments: Any) -> None:
    """Register a number at its carrier."""
    _run_registration_job(
        tenant_id, _job_from_arguments(**arguments), register=True, services=services
    )


@queue.task(UNREGISTER_JOB, lane=lanes.DELIVERIES)
def unregister(tenant_id: str, *, services: Services, **arguments: Any) -> None:
    """Unregister a number at its carrier."""
    _run_registration_job(
        tenant_id, _job_from_arguments(**arguments), register=False, services=services
    )


@queue.task(CHECK_JOB, lane=lanes.DELIVERIES)
def check(tenant_id: str, phone_number_id: str, *, services: Services) -> None:
    """Compare a number's settings at its carrier with its registration."""
    drift.check_drift(
        TenantRef(UUID(tenant_id)), phone_number_id=UUID(phone_number_id), services=services
    )


@queue.task(LEAVE_JOB, lane=lanes.DELIVERIES)
def leave(tenant_id: str, phone_number_id: str, *, services: Services) -> None:
    """Release a number at the carrier that it has moved from."""
    number_id = UUID(phone_number_id)
    porting.release_if_due(
        TenantRef(UUID(tenant_id)), phone_number_id=number_id, now=clock.now(), services=services
    )


@queue.task(COUNT_JOB, lane=lanes.BATCH)
def count(tenant_id: str, period: str, *, services: Services) -> None:
    """Record the days for which numbers were held in a month."""
    number_metering.record_month(
        TenantRef(UUID(tenant_id)), period=periods.parse_month(period), services=services
    )


def _job_from_arguments(
    *, phone_number_id: str, telephony_account_id: str | None = None, **arguments: Any
) -> RegistrationJob:
    """Return the job of its arguments; jobs of earlier releases have no account."""
    account_id = UUID(telephony_account_id) if telephony_account_id else None
    return RegistrationJob(UUID(phone_number_id), telephony_account_id=account_id, **arguments)


def _run_registration_job(
    tenant_id: str, job: RegistrationJob, *, services: Services, register: bool
) -> None:
    tenant = TenantRef(UUID(tenant_id))
    with tenant_session(tenant, database=services.database) as session:
        if not registration.is_current(session, job, register=register, services=services):
            return
        carrier = adapter_lookup.adapter_for_number(session, job.carrier, services=services)
    try:
        _call_carrier(tenant, job, carrier, register=register)
    except TelephonyError as error:
        with tenant_session(tenant, database=services.database) as session:
            registration.mark_failed(
                session, job, register=register, error=error, now=clock.now(), services=services
            )
    else:
        with tenant_session(tenant, database=services.database) as session:
            registration.mark_done(
                session, job, register=register, now=clock.now(), services=services
            )


def _call_carrier(
    tenant: TenantRef, job: RegistrationJob, carrier: TelephonyAdapter | None, *, register: bool
) -> None:
    if carrier is None:
        raise TelephonyError("no carrier configured", permanent=True, code="no-carrier")
    call_adapter = carrier.register_number if register else carrier.unregister_number
    call_adapter(tenant.id, job.phone_number_id, job.did_number)
