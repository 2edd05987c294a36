"""Delete audio when its time has come, and all of a tenant's when the tenant goes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit import clock, jobs, log, storage
from vca.kit.storage import StorageError
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.recordings import audio, keeping
from vca.tenant.recordings.models import Recording
from vca.tenant.settings import service as settings

SWEEP = "recordings.sweep"
_AT_ONCE = 100
_TRY_AGAIN_S = (60, 300, 1_800, 7_200)


@dataclass(frozen=True)
class Due:
    """A recording whose time has come."""

    recording_id: UUID
    key: str | None


def begin(session: Session, row: Recording, *, now: datetime) -> None:
    """A recording was stored: from now on its time runs, if the tenant has set one.

    A later change of the setting holds for what is stored after it.
    """
    days = _days(session)
    if days is None:
        return
    row.delete_after = now + timedelta(days=days)
    session.flush()
    schedule(session)


def schedule(session: Session) -> None:
    """Have the tenant's sweep done when its next recording is due; one waits at most."""
    due = Recording.status == "stored"
    earliest = session.scalar(select(func.min(Recording.delete_after)).where(due))
    if earliest is not None:
        jobs.withdraw(session, lock=SWEEP)
        jobs.enqueue(session, SWEEP, run_at=earliest, lock=SWEEP)


def sweep(tenant: TenantRef, *, now: datetime, attempt: int = 0) -> None:
    """Delete audio that is due, then its row's word that it is there; order the next sweep."""
    with enter(tenant) as session:
        due = _due(session, now=now)
    try:
        for one in due:
            if one.key is not None and audio.is_own(tenant, one.key):
                storage.current().delete(one.key)
            with enter(tenant) as session:
                _note_deleted(session, one.recording_id)
    except StorageError as error:
        log.get().warning("recordings.sweep_failed", exc_info=error)
        with enter(tenant) as session:
            _sweep_again(session, attempt=attempt, now=now)
    else:
        with enter(tenant) as session:
            settings.get(session, for_update=True)
            schedule(session)


def discard(tenant: TenantRef) -> int:
    """Delete everything that the store holds of a tenant; how many there were.

    Raises StorageError; then some may be left.
    """
    return storage.current().delete_all(audio.folder_of(tenant))


def _days(session: Session) -> int | None:
    """The tenant's retention in days; None: for ever.

    Locks the row of settings, so that of two recordings stored at once the second sees the sweep
    that the first has ordered.
    """
    found = settings.get(session, for_update=True).retention_days.get("recordings")
    usable = isinstance(found, int) and not isinstance(found, bool) and found > 0
    return found if usable else None


def _due(session: Session, *, now: datetime) -> list[Due]:
    statement = (
        select(Recording.id, Recording.storage_key)
        .where(Recording.status == "stored", Recording.delete_after <= now)
        .order_by(Recording.delete_after)
        .limit(_AT_ONCE)
    )
    return [Due(row.id, row.storage_key) for row in session.execute(statement)]


def _note_deleted(session: Session, recording_id: UUID) -> None:
    row = session.get(Recording, recording_id, with_for_update=True)
    if row is not None and row.status == "stored":
        now = clock.now()
        row.status, row.storage_key, row.updated_at = "deleted", None, now
        session.flush()
        keeping.end(session, row, now=now)


def _sweep_again(session: Session, *, attempt: int, now: datetime) -> None:
    wait_s = _TRY_AGAIN_S[min(attempt, len(_TRY_AGAIN_S) - 1)]
    again_at = now + timedelta(seconds=wait_s)
    jobs.enqueue(session, SWEEP, run_at=again_at, lock=SWEEP, attempt=attempt + 1)
