"""Copy a recording from its carrier to the storage, then delete it at the carrier.

The job may be killed between any two steps and may run twice at once. The storage key is always the
same, a row becomes `stored` only after the audio was read back, and the carrier's copy is deleted
only after that row was committed.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock, failpoints, storage
from vca.kit.backoff import BackOff
from vca.kit.storage import ObjectInfo, ObjectNotFound, StorageError
from vca.observability import log
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter, TelephonyError, limit_size
from vca.telephony.types import ProviderAccountRef
from vca.telephony.types import Recording as Audio
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, tenant_session
from vca.tenant.recordings import media, retention, storage_metering
from vca.tenant.recordings.models import Recording
from vca.tenant.telephony_accounts import adapter_lookup
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

FETCH_JOB = "recordings.fetch"
GIVE_UP_AFTER = timedelta(hours=24)
# Carriers provide most recordings within seconds of the call's end.
BACK_OFF = BackOff((5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600))


@dataclass(frozen=True)
class FetchRequest:
    """The remaining work for a recording as plain values, and the carrier that has it."""

    recording_id: UUID
    status: str
    provider_type: str
    provider_call_id: str
    provider_recording_id: str | None
    created_at: datetime
    carrier: TelephonyAdapter | None


@dataclass(frozen=True)
class StoredAudio:
    """Audio that was stored and read back."""

    key: str
    content_type: str
    object_info: ObjectInfo


def schedule_fetch(
    session: Session,
    *,
    recording_id: UUID,
    stage: str = "pending",
    attempt: int = 0,
    run_at: datetime | None = None,
) -> None:
    """Enqueue the job that fetches a recording or finishes that work; one job per attempt."""
    lock = f"{FETCH_JOB}:{recording_id}:{stage}:{attempt}"
    queue.enqueue(
        session, FETCH_JOB, run_at=run_at, lock=lock, recording_id=recording_id, attempt=attempt
    )


def fetch_recording(
    tenant: TenantRef, *, services: Services, recording_id: UUID, attempt: int
) -> None:
    """Do the remaining work for a recording; retry or give up after a failure."""
    with tenant_session(tenant, database=services.database) as session:
        request = _load_request(session, recording_id, services=services)
    if request is None:
        return
    try:
        if request.status == "pending":
            _commit_audio(
                tenant,
                request,
                _ensure_stored(tenant, request, services=services),
                services=services,
            )
            failpoints.kill_if_armed("recordings.fetch.noted")
        carrier = _require_carrier(request)
        carrier.delete_recording(request.provider_call_id, request.provider_recording_id)
    except (TelephonyError, StorageError) as error:
        with tenant_session(tenant, database=services.database) as session:
            _handle_failure(session, request, attempt=attempt, error=error, now=clock.now())
    else:
        with tenant_session(tenant, database=services.database) as session:
            row = session.get_one(Recording, recording_id, with_for_update=True)
            row.carrier_copy, row.updated_at = "deleted", clock.now()


def _load_request(
    session: Session, recording_id: UUID, *, services: Services
) -> FetchRequest | None:
    row = session.get(Recording, recording_id)
    if row is None or row.status == "failed":
        return None
    if row.status != "pending" and row.carrier_copy == "deleted":
        return None
    return FetchRequest(
        row.id,
        row.status,
        row.provider_type,
        row.provider_call_id,
        row.provider_recording_id,
        row.created_at,
        adapter_lookup.adapter_for_call(
            session,
            ProviderAccountRef(row.provider_type, row.telephony_account_id),
            services=services,
        ),
    )


def _ensure_stored(tenant: TenantRef, request: FetchRequest, *, services: Services) -> StoredAudio:
    """Store the carrier's audio and read it back, or reuse what an earlier run has stored."""
    carrier = _require_carrier(request)
    carrier_audio = carrier.fetch_recording(request.provider_call_id, request.provider_recording_id)
    if carrier_audio is not None:
        return _store_audio(tenant, request, carrier_audio, services=services)
    for content_type, key in media.possible_keys(
        tenant, recording_id=request.recording_id, created_at=request.created_at
    ):
        try:
            return StoredAudio(key, content_type, storage.read_digest(services.store, key))
        except ObjectNotFound:
            continue
    raise TelephonyError("the recording is not ready", permanent=False, code="not-ready")


def _store_audio(
    tenant: TenantRef, request: FetchRequest, carrier_audio: Audio, *, services: Services
) -> StoredAudio:
    store, content_type = (
        services.store,
        media.normalize_content_type(carrier_audio.content_type),
    )
    key = media.storage_key(
        tenant,
        recording_id=request.recording_id,
        created_at=request.created_at,
        content_type=content_type,
    )
    with closing(limit_size(carrier_audio.chunks)) as chunks:
        object_info = store.put(key, chunks, content_type=content_type)
    if storage.read_digest(store, key) != object_info:
        raise StorageError("the stored audio differs from the carrier's", permanent=False)
    return StoredAudio(key, content_type, object_info)


def _commit_audio(
    tenant: TenantRef, request: FetchRequest, stored_audio: StoredAudio, *, services: Services
) -> None:
    """Commit the stored audio; delete it again if no row is waiting for it."""
    failpoints.kill_if_armed("recordings.fetch.stored")
    try:
        with tenant_session(tenant, database=services.database) as session:
            is_current = _mark_stored(session, request, stored_audio, now=clock.now())
    except IsolationError:  # the tenant was purged in the meantime, with its audio
        services.store.delete(stored_audio.key)
        raise
    if not is_current:
        services.store.delete(stored_audio.key)


def _mark_stored(
    session: Session, request: FetchRequest, stored_audio: StoredAudio, *, now: datetime
) -> bool:
    """Mark the recording as stored; return whether the stored audio belongs to it."""
    row = session.get(Recording, request.recording_id, with_for_update=True)
    if row is None or row.status == "deleted":
        return False
    if row.status == "stored":  # a second run of the same job
        return row.storage_key == stored_audio.key
    row.status, row.updated_at = "stored", now
    row.storage_key, row.content_type = stored_audio.key, stored_audio.content_type
    row.size_bytes, row.sha256 = (
        stored_audio.object_info.size_bytes,
        stored_audio.object_info.sha256,
    )
    retention.start_retention(session, row, now=now)
    storage_metering.start_metering(session, now=now)
    data = {"recording_id": row.id, "call_id": row.call_id, "kind": row.kind}
    events.emit(session, Event("call.recording_ready", data))
    return True


def _handle_failure(
    session: Session,
    request: FetchRequest,
    *,
    attempt: int,
    error: TelephonyError | StorageError,
    now: datetime,
) -> None:
    """Schedule another attempt; give up after a permanent error or too many attempts."""
    row = session.get(Recording, request.recording_id, with_for_update=True)
    if row is None or row.status == "failed":
        return
    was_pending = row.status == "pending"
    attempt = attempt + 1 if row.status == request.status else 0
    may_retry = (
        now - row.created_at <= GIVE_UP_AFTER if was_pending else BACK_OFF.allows_retry(attempt)
    )
    if may_retry and not error.permanent:
        retry_after_s = getattr(error, "retry_after_s", None)
        retry_at = now + BACK_OFF.delay(attempt, at_least_s=retry_after_s)
        schedule_fetch(
            session, recording_id=row.id, stage=row.status, attempt=attempt, run_at=retry_at
        )
        return
    if was_pending:
        row.status, row.updated_at = "failed", now
    log.get_logger().warning(
        "recording.failed" if was_pending else "recording.carrier_copy_kept",
        recording_id=str(row.id),
        provider_type=row.provider_type,
        exc_info=error,
    )


def _require_carrier(request: FetchRequest) -> TelephonyAdapter:
    if request.carrier is None:
        raise TelephonyError("no carrier configured", permanent=False, code="no-carrier")
    return request.carrier
