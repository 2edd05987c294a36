"""Erase a person's data in a tenant; the job may be killed at any step and run again.

The numbers that link calls to the person are erased last, so that a later run finds what a killed
run has left. The ledger is written first. Live calls are skipped, and the job is scheduled again
until they have ended; only then is the erasure done.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit import clock, json
from vca.kit.backoff import BackOff
from vca.kit.storage import StorageError
from vca.observability import log
from vca.services import Services
from vca.services.lifecycle_hooks import SubjectRecords
from vca.tenancy import replaced_schemas
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import subject_records
from vca.tenant.calls.core.subject_records import SubjectCall
from vca.tenant.privacy import data_export, erasure_ledger, requests, text_search
from vca.tenant.privacy.data_subject import DataSubject
from vca.tenant.privacy.erasure_ledger import ErasureEntry
from vca.tenant.privacy.models import PrivacyRequest
from vca.tenant.privacy.requests import PrivacyJob

# A live call ends within minutes, and an outage of the storage ends too.
LIVE_CALL_RETRY_DELAY = timedelta(seconds=60)
STORAGE_BACK_OFF = BackOff((300,), jitter=0)
_DELETE_FINISHED_JOBS = text("SELECT jobs.forget_finished(:pattern)")
_FIND_JOBS = text("SELECT id, args, doing FROM jobs.naming(:pattern)")
_REWRITE_JOB_ARGS = text("SELECT jobs.reword(:id, CAST(:args AS jsonb))")


def run_erasure(tenant: TenantRef, *, services: Services, request_id: UUID) -> None:
    """Execute an erasure request as far as possible now, and schedule the rest."""
    with tenant_session(tenant, database=services.database) as session:
        job = requests.load_job(session, tenant, request_id=request_id, services=services)
    if job is None:
        return
    try:
        _write_ledger_entry(tenant, job, services=services)
        complete = _erase_once(tenant, job, services=services)
        _finish_or_retry(tenant, job, complete=complete, services=services)
    except StorageError as error:
        log.get_logger().warning(
            "privacy.erasure_delayed", request_id=str(request_id), exc_info=error
        )
        with tenant_session(tenant, database=services.database) as session:
            row = session.get_one(PrivacyRequest, request_id)
            requests.schedule(session, row, run_at=clock.now() + STORAGE_BACK_OFF.delay(1))


def _erase_once(tenant: TenantRef, job: PrivacyJob, *, services: Services) -> bool:
    """Erase what can be erased now; return whether nothing is left."""
    with tenant_session(tenant, database=services.database) as session:
        calls = subject_records.find_calls(session, job.subject, until=job.until)
    ended = [call for call in calls if not call.live]
    for batch in subject_records.batches(ended):
        _erase_calls(tenant, job, batch, services=services)
    with tenant_session(tenant, database=services.database) as session:
        _erase_messages(session, job, services=services)
    data_export.delete_subject_exports(
        tenant,
        hashes=[
            number_hash
            for number in job.subject.numbers
            for number_hash in erasure_ledger.number_hashes(tenant.id, number, services=services)
        ],
        services=services,
    )
    with tenant_session(tenant, database=services.database) as session:
        live = subject_records.live_call_ids(session)
    complete = _erase_mentions(tenant, job, live, services=services)
    with tenant_session(tenant, database=services.database) as session:
        jobs_idle = _erase_jobs(session, job)
    return complete and jobs_idle and len(ended) == len(calls)


def _erase_calls(
    tenant: TenantRef, job: PrivacyJob, calls: Sequence[SubjectCall], *, services: Services
) -> None:
    """Erase the files of the calls, then every feature's rows about them in one transaction."""
    hooks = services.lifecycle_hooks
    records = SubjectRecords(call_ids=[call.call_id for call in calls])
    file_counts = hooks.erase_files(tenant, records, services=services)
    with tenant_session(tenant, database=services.database) as session:
        row_counts = hooks.erase_rows(session, records)
        requests.add_removed(session, job.request_id, {**row_counts, **file_counts})
        _record_carrier_calls(session, job, calls)


def _record_carrier_calls(session: Session, job: PrivacyJob, calls: Sequence[SubjectCall]) -> None:
    """Store the carriers' ids of the calls, so that the tenant can ask carriers to erase them."""
    earlier_calls = session.get_one(PrivacyRequest, job.request_id).result.get("at_carriers", [])
    carrier_calls = [
        {"provider_type": call.provider_type, "provider_call_id": call.provider_call_id}
        for call in calls
        if not call.simulated and call.provider_call_id is not None
    ]
    requests.update_result(session, job.request_id, at_carriers=[*earlier_calls, *carrier_calls])


def _erase_messages(session: Session, job: PrivacyJob, *, services: Services) -> None:
    message_ids = subject_records.find_messages(session, job.subject, until=job.until)
    records = SubjectRecords(message_ids=message_ids)
    counts = services.lifecycle_hooks.erase_rows(session, records)
    requests.add_removed(session, job.request_id, counts)


def _erase_mentions(
    tenant: TenantRef, job: PrivacyJob, live: Collection[UUID], *, services: Services
) -> bool:
    row_count, complete = text_search.erase_mentions(
        tenant, job.subject, until=job.until, live=live, services=services
    )
    with tenant_session(tenant, database=services.database) as session:
        requests.add_removed(session, job.request_id, {"mentions": row_count})
        config_fields = text_search.find_in_configuration(session, job.subject, services=services)
        copies = [
            schema.expires_at.date().isoformat()
            for schema in replaced_schemas.list_replaced_schemas_of_tenant(session, tenant)
        ]
        requests.update_result(
            session,
            job.request_id,
            configured=config_fields,
            copies=copies,
            unread_languages=text_search.find_unread_languages(session),
            is_short_number=job.subject.is_short,
        )
    return complete


def _erase_jobs(session: Session, job: PrivacyJob) -> bool:
    """Delete finished jobs that contain the number, and remove it from queued jobs' arguments.

    Return whether none of the jobs is running. Arguments of jobs have numbers in digits, because
    they contain no transcripts.
    """
    pattern = {"pattern": job.subject.literal_pattern}
    deleted_count = session.scalar(_DELETE_FINISHED_JOBS, pattern) or 0
    job_rows = session.execute(_FIND_JOBS, pattern).all()
    for id, args, is_running in job_rows:
        if not is_running:
            session.execute(
                _REWRITE_JOB_ARGS, {"id": id, "args": _scrubbed_args(job.subject, args)}
            )
    running_flags = [is_running for _, _, is_running in job_rows]
    requests.add_removed(
        session, job.request_id, {"jobs": deleted_count + running_flags.count(False)}
    )
    return True not in running_flags


def _scrubbed_args(subject: DataSubject, args: object) -> str:
    return json.dumps(subject.scrub(args)).decode()


def _write_ledger_entry(tenant: TenantRef, job: PrivacyJob, *, services: Services) -> None:
    """Record the erasure in the ledger before anything is erased."""
    entry = ErasureEntry(job.request_id, tenant.id, job.number_hash, job.until, None, {})
    erasure_ledger.write_entry(entry, services=services)


def _finish_or_retry(
    tenant: TenantRef, job: PrivacyJob, *, services: Services, complete: bool
) -> None:
    now = clock.now()
    with tenant_session(tenant, database=services.database) as session:
        if not complete:
            row = session.get_one(PrivacyRequest, job.request_id, with_for_update=True)
            row.status = "waiting"
            requests.schedule(session, row, run_at=now + LIVE_CALL_RETRY_DELAY)
            return
        row = requests.finish(session, job.request_id, now=now)
        removed = row.result.get("removed", {})
    erasure_ledger.write_entry(
        ErasureEntry(job.request_id, tenant.id, job.number_hash, job.until, now, removed),
        services=services,
    )
