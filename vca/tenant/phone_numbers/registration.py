"""Register and unregister numbers at their carriers by jobs.

A job may run late, twice, or at the same time as its opposite. Each job is therefore compared with
the number's row before and after it calls the carrier. If the row has changed in the meantime, a
new job is enqueued, so that the last call to the carrier is the one that the row asks for.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit.backoff import BackOff
from vca.registry.number_registry import service as dids
from vca.services import Services
from vca.telephony.adapter import TelephonyError
from vca.telephony.types import ProviderAccountRef
from vca.tenant.phone_numbers import drift, provider_assignment
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.telephony_accounts import adapter_lookup

REGISTER_JOB = "phone_numbers.register"
UNREGISTER_JOB = "phone_numbers.unregister"
# Ten attempts over about two days, so that an outage of a carrier needs no manual repair.
BACK_OFF = BackOff((10, 60, 300, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400))


@dataclass(frozen=True)
class RegistrationJob:
    """The arguments of a registration job.

    `round` is the version of the number's registration request. It is None for a release at a
    carrier, which does not depend on the number's state.
    """

    phone_number_id: UUID
    did_number: str
    provider_type: str
    telephony_account_id: UUID | None = None
    round: int | None = None
    attempt: int = 0

    @property
    def carrier(self) -> ProviderAccountRef:
        """The carrier account that the job calls."""
        return ProviderAccountRef(self.provider_type, self.telephony_account_id)


def request_registration(session: Session, number: PhoneNumber, *, services: Services) -> None:
    """Schedule what the number's state requires: registration if it is active, else a release."""
    number.registration_round += 1
    number.registration_next_attempt_at = None
    current_ref = provider_assignment.current_ref(number)
    if (
        number.is_active
        and adapter_lookup.adapter_for_number(session, current_ref, services=services) is None
    ):
        detail = "no carrier configured"
        provider_assignment.set_registration_status(
            session, number, "failed", code="no-carrier", detail=detail
        )
        return
    provider_assignment.set_registration_status(session, number, "pending")
    job = _job_for(number, current_ref, round=number.registration_round)
    _enqueue(session, job, register=number.is_active)


def request_release(
    session: Session, number: PhoneNumber, ref: ProviderAccountRef | None = None
) -> None:
    """Schedule the number's release at its current carrier or at `ref`.

    The job does not depend on the number's later state.
    """
    job = _job_for(number, ref or provider_assignment.current_ref(number))
    _enqueue(session, job, register=False)


def is_current(
    session: Session, job: RegistrationJob, *, services: Services, register: bool
) -> bool:
    """Return whether the job is still needed.

    A release at the previous carrier is not needed while the number may receive calls from there.
    """
    holder = dids.current_holder(session, number=job.did_number)
    number = session.get(PhoneNumber, job.phone_number_id)
    if holder != job.phone_number_id or number is None:
        return not register and holder in (None, job.phone_number_id)
    if job.round not in (None, number.registration_round):
        return False
    if not register and same_account(
        provider_assignment.previous_ref(number), job.carrier, services=services
    ):
        return False
    return (number.is_active and _is_current_carrier(number, job, services=services)) is register


def mark_done(
    session: Session, job: RegistrationJob, *, services: Services, register: bool, now: datetime
) -> None:
    """Record the carrier's success, or schedule what is needed if the job is no longer current."""
    number = session.get(PhoneNumber, job.phone_number_id, with_for_update=True)
    if not is_current(session, job, register=register, services=services):
        _correct_carrier(session, job, number, register=register, services=services)
    elif number is not None and _is_current_carrier(number, job, services=services):
        provider_assignment.set_registration_status(
            session, number, "registered" if register else "unregistered"
        )
        number.registration_checked_at = now
        number.registration_next_attempt_at = None
        if register:
            drift.schedule_check(session, number, now=now)


def mark_failed(
    session: Session,
    job: RegistrationJob,
    *,
    services: Services,
    register: bool,
    error: TelephonyError,
    now: datetime,
) -> None:
    """Record the carrier's failure and schedule a retry, unless the error is permanent."""
    number = session.get(PhoneNumber, job.phone_number_id, with_for_update=True)
    if not is_current(session, job, register=register, services=services):
        return
    retry_at = None
    if not error.permanent and BACK_OFF.allows_retry(job.attempt + 1):
        retry_at = now + BACK_OFF.delay(job.attempt + 1, at_least_s=error.retry_after_s)
        retry = replace(job, attempt=job.attempt + 1)
        _enqueue(session, retry, register=register, run_at=retry_at)
    if number is not None and _is_current_carrier(number, job, services=services):
        number.registration_checked_at = now
        number.registration_next_attempt_at = retry_at
        status, code = "pending" if retry_at else "failed", error.code or "carrier-error"
        provider_assignment.set_registration_status(
            session, number, status, code=code, detail=str(error)
        )


def same_account(
    first: ProviderAccountRef | None, second: ProviderAccountRef, *, services: Services
) -> bool:
    """Return whether both refer to the same account at the same carrier, under any of its names."""
    if first is None or first.account_id != second.account_id:
        return False
    name_of = services.carriers.carrier_name
    return name_of(first.provider_type) == name_of(second.provider_type)


def _correct_carrier(
    session: Session,
    job: RegistrationJob,
    number: PhoneNumber | None,
    *,
    services: Services,
    register: bool,
) -> None:
    """Schedule the correction of a job that was no longer current when the carrier executed it."""
    holder = dids.current_holder(session, number=job.did_number)
    if number is not None and holder == number.id:
        request_registration(session, number, services=services)
        if register and not _is_current_carrier(number, job, services=services):
            request_release(session, number, job.carrier)
    elif register and holder is None:
        _enqueue(session, replace(job, round=None, attempt=0), register=False)


def _job_for(
    number: PhoneNumber, ref: ProviderAccountRef, *, round: int | None = None
) -> RegistrationJob:
    return RegistrationJob(
        number.id, number.did_number, ref.provider_type, ref.account_id, round=round
    )


def _enqueue(
    session: Session, job: RegistrationJob, *, register: bool, run_at: datetime | None = None
) -> None:
    queue.enqueue(
        session, REGISTER_JOB if register else UNREGISTER_JOB, run_at=run_at, **asdict(job)
    )


def _is_current_carrier(number: PhoneNumber, job: RegistrationJob, *, services: Services) -> bool:
    return same_account(provider_assignment.current_ref(number), job.carrier, services=services)
