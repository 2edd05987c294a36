"""Delete audio at the end of its retention, and all of a tenant's audio with the tenant."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock
from vca.kit.backoff import BackOff
from vca.kit.storage import StorageError
from vca.observability import log
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.recordings import media, storage_metering
from vca.tenant.recordings.models import Recording
from vca.tenant.settings import service as settings

SWEEP_JOB = "recordings.sweep"
_BATCH_SIZE = 100
_BACK_OFF = BackOff((60, 300, 1_800, 7_200), jitter=0)


@dataclass(frozen=True)
class DueRecording:
    """A recording whose retention has ended."""

    recording_id: UUID
    key: str | None


def start_retention(session: Session, row: Recording, *, now: datetime) -> None:
    """Set the time at which a stored recording is deleted, if the tenant has set a retention.

    A later change of the setting applies only to recordings stored after it.
    """
    days = _retention_days(session)
    if days is None:
        return
    row.delete_after = now + timedelta(days=days)
    session.flush()
    schedule_sweep(session)


def schedule_sweep(session: Session) -> None:
    """Schedule the sweep for the time at which the next recording is due; one is queued at most."""
    is_stored = Recording.status == "stored"
    earliest = session.scalar(select(func.min(Recording.delete_after)).where(is_stored))
    if earliest is not None:
        queue.withdraw(session, lock=SWEEP_JOB)
        queue.enqueue(session, SWEEP_JOB, run_at=earliest, lock=SWEEP_JOB)


def sweep(tenant: TenantRef, *, services: Services, now: datetime, attempt: int = 0) -> None:
    """Delete the audio that is due, then mark its row as deleted, and schedule the next sweep."""
    with tenant_session(tenant, database=services.database) as session:
        due = _due_recordings(session, now=now)
    try:
        for recording in due:
            if recording.key is not None and media.belongs_to_tenant(tenant, recording.key):
                services.store.delete(recording.key)
            with tenant_session(tenant, database=services.database) as session:
                _mark_deleted(session, recording.recording_id)
    except StorageError as error:
        log.get_logger().warning("recordings.sweep_failed", exc_info=error)
        with tenant_session(tenant, database=services.database) as session:
            _schedule_retry(session, attempt=attempt, now=now)
    else:
        with tenant_session(tenant, database=services.database) as session:
            settings.get(session, for_update=True)
            schedule_sweep(session)


def delete_files(tenant: TenantRef, *, services: Services) -> int:
    """Delete all files of a tenant; return how many there were.

    Raise StorageError; some files may then be left.
    """
    return services.store.delete_all(media.tenant_folder(tenant))


def _retention_days(session: Session) -> int | None:
    """Return the tenant's retention in days; None means for ever.

    Locks the settings row. When two recordings are stored at once, the second transaction then sees
    the sweep that the first has scheduled.
    """
    days = settings.get(session, for_update=True).retention_days.get("recordings")
    is_valid = isinstance(days, int) and not isinstance(days, bool) and days > 0
    return days if is_valid else None


def _due_recordings(session: Session, *, now: datetime) -> list[DueRecording]:
    statement = (
        select(Recording.id, Recording.storage_key)
        .where(Recording.status == "stored", Recording.delete_after <= now)
        .order_by(Recording.delete_after)
        .limit(_BATCH_SIZE)
    )
    return [DueRecording(row.id, row.storage_key) for row in session.execute(statement)]


def _mark_deleted(session: Session, recording_id: UUID) -> None:
    row = session.get(Recording, recording_id, with_for_update=True)
    if row is not None and row.status == "stored":
        now = clock.now()
        row.status, row.storage_key, row.updated_at = "deleted", None, now
        session.flush()
        storage_metering.stop_metering(session, row, now=now)


def _schedule_retry(session: Session, *, attempt: int, now: datetime) -> None:
    retry_at = now + _BACK_OFF.delay(attempt + 1)
    queue.enqueue(session, SWEEP_JOB, run_at=retry_at, lock=SWEEP_JOB, attempt=attempt + 1)
