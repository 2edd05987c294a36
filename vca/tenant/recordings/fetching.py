"""Bring a recording from its carrier into the store, and have the carrier forget it.

The job may be killed between any two steps, and may run twice at once: the key in the store is
always the same, a row is stored only after what was kept was read back, and the carrier's copy is
deleted only after that row was committed.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import uniform
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import clock, crash, jobs, log, storage
from vca.kit.storage import Missing, StorageError, Stored
from vca.telephony.adapter import TelephonyAdapter, TelephonyError, bounded
from vca.telephony.types import CarrierRef
from vca.telephony.types import Recording as Audio
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, enter
from vca.tenant.recordings import audio, keeping, retention
from vca.tenant.recordings.models import Recording
from vca.tenant.telephony_accounts import carriers
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

FETCH = "recordings.fetch"
GIVE_UP_AFTER = timedelta(hours=24)
# Carriers have most recordings ready within seconds of the call's end.
BACK_OFF_S = (5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600)


@dataclass(frozen=True)
class Wanted:
    """What is still to be done for a recording, as plain values, and the carrier that has it."""

    recording_id: UUID
    status: str
    provider_type: str
    provider_call_id: str
    provider_recording_id: str | None
    created_at: datetime
    carrier: TelephonyAdapter | None


@dataclass(frozen=True)
class Taken:
    """Audio that lies in the store, read back."""

    key: str
    content_type: str
    stored: Stored


def order(
    session: Session,
    *,
    recording_id: UUID,
    stage: str = "pending",
    attempt: int = 0,
    run_at: datetime | None = None,
) -> None:
    """Have a recording fetched, or what is left of that done; one job waits for each attempt."""
    lock = f"{FETCH}:{recording_id}:{stage}:{attempt}"
    jobs.enqueue(
        session, FETCH, run_at=run_at, lock=lock, recording_id=recording_id, attempt=attempt
    )


def fetch(tenant: TenantRef, *, recording_id: UUID, attempt: int) -> None:
    """Do what is left to be done for a recording; what fails is tried again or given up."""
    with enter(tenant) as session:
        wanted = _wanted(session, recording_id)
    if wanted is None:
        return
    try:
        if wanted.status == "pending":
            _keep(tenant, wanted, _take(tenant, wanted))
            crash.point("recordings.fetch.noted")
        carrier = _carrier(wanted)
        carrier.delete_recording(wanted.provider_call_id, wanted.provider_recording_id)
    except (TelephonyError, StorageError) as error:
        with enter(tenant) as session:
            _failed(session, wanted, attempt=attempt, error=error, now=clock.now())
    else:
        with enter(tenant) as session:
            row = session.get_one(Recording, recording_id, with_for_update=True)
            row.carrier_copy, row.updated_at = "deleted", clock.now()


def _wanted(session: Session, recording_id: UUID) -> Wanted | None:
    row = session.get(Recording, recording_id)
    if row is None or row.status == "failed":
        return None
    if row.status != "pending" and row.carrier_copy == "deleted":
        return None
    return Wanted(
        row.id,
        row.status,
        row.provider_type,
        row.provider_call_id,
        row.provider_recording_id,
        row.created_at,
        carriers.of_call(session, CarrierRef(row.provider_type, row.telephony_account_id)),
    )


def _take(tenant: TenantRef, wanted: Wanted) -> Taken:
    """Have the audio in the store and read back; what an earlier run left there is as good."""
    carrier = _carrier(wanted)
    found = carrier.recording(wanted.provider_call_id, wanted.provider_recording_id)
    if found is not None:
        return _put(tenant, wanted, found)
    for content_type, key in audio.keys_of(
        tenant, recording_id=wanted.recording_id, created_at=wanted.created_at
    ):
        try:
            return Taken(key, content_type, storage.digest(storage.current(), key))
        except Missing:
            continue
    raise TelephonyError("the recording is not ready", permanent=False, code="not-ready")


def _put(tenant: TenantRef, wanted: Wanted, found: Audio) -> Taken:
    store, content_type = storage.current(), audio.type_of(found.content_type)
    key = audio.key_of(
        tenant,
        recording_id=wanted.recording_id,
        created_at=wanted.created_at,
        content_type=content_type,
    )
    with closing(bounded(found.chunks)) as chunks:
        stored = store.put(key, chunks, content_type=content_type)
    if storage.digest(store, key) != stored:
        raise StorageError("what was kept is not what came", permanent=False)
    return Taken(key, content_type, stored)


def _keep(tenant: TenantRef, wanted: Wanted, taken: Taken) -> None:
    """Commit that the audio is ours; audio that no row is waiting for is deleted again."""
    crash.point("recordings.fetch.stored")
    try:
        with enter(tenant) as session:
            kept = _note(session, wanted, taken, now=clock.now())
    except IsolationError:  # purged meanwhile, and its audio with it
        storage.current().delete(taken.key)
        raise
    if not kept:
        storage.current().delete(taken.key)


def _note(session: Session, wanted: Wanted, taken: Taken, *, now: datetime) -> bool:
    """Whether the audio that was taken is the recording's."""
    row = session.get(Recording, wanted.recording_id, with_for_update=True)
    if row is None or row.status == "deleted":
        return False
    if row.status == "stored":  # by the same job, running twice
        return row.storage_key == taken.key
    row.status, row.updated_at = "stored", now
    row.storage_key, row.content_type = taken.key, taken.content_type
    row.size_bytes, row.sha256 = taken.stored.size_bytes, taken.stored.sha256
    retention.begin(session, row, now=now)
    keeping.begin(session, now=now)
    data = {"recording_id": row.id, "call_id": row.call_id, "kind": row.kind}
    events.tell(session, Event("call.recording_ready", data))
    return True


def _failed(
    session: Session,
    wanted: Wanted,
    *,
    attempt: int,
    error: TelephonyError | StorageError,
    now: datetime,
) -> None:
    """Order it again later; if that cannot help or has been done long enough, say so."""
    row = session.get(Recording, wanted.recording_id, with_for_update=True)
    if row is None or row.status == "failed":
        return
    pending = row.status == "pending"
    attempt = attempt + 1 if row.status == wanted.status else 0
    over = now - row.created_at > GIVE_UP_AFTER if pending else attempt > len(BACK_OFF_S)
    if not (error.permanent or over):
        again_at = now + _back_off(attempt, getattr(error, "retry_after_s", None))
        order(session, recording_id=row.id, stage=row.status, attempt=attempt, run_at=again_at)
        return
    if pending:
        row.status, row.updated_at = "failed", now
    log.get().warning(
        "recording.failed" if pending else "recording.carrier_copy_kept",
        recording_id=str(row.id),
        provider_type=row.provider_type,
        exc_info=error,
    )


def _back_off(attempt: int, at_least_s: int | None) -> timedelta:
    """How long to wait before an attempt (1 is the second), with a fifth of jitter."""
    wait_s = BACK_OFF_S[min(max(attempt, 1), len(BACK_OFF_S)) - 1] * uniform(0.8, 1.2)
    return timedelta(seconds=max(wait_s, at_least_s or 0))


def _carrier(wanted: Wanted) -> TelephonyAdapter:
    if wanted.carrier is None:
        raise TelephonyError("no carrier configured", permanent=False, code="no-carrier")
    return wanted.carrier
