"""Create recordings, read their status, and find their audio."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from vca.kit.errors import DomainError, NotFound, Unavailable
from vca.tenancy.schema import TenantRef
from vca.tenant.recordings import carrier_fetch, media
from vca.tenant.recordings.models import Recording

_SHA256 = re.compile("[0-9a-f]{64}", re.ASCII)
_UNAVAILABLE_REASONS = {
    "pending": ("recording-not-ready", "The recording is not ready yet."),
    "failed": ("recording-failed", "The carrier did not provide the recording."),
    "deleted": ("recording-deleted", "The recording was deleted."),
}


class RecordingUnavailable(DomainError):
    """The call was recorded and there is no audio; the code has the reason."""

    status = 404
    code = "recording-missing"

    def __init__(self, status: str = "stored") -> None:
        default = (self.code, "The audio of the recording is not in this deployment's storage.")
        code, detail = _UNAVAILABLE_REASONS.get(status, default)
        super().__init__(detail, code=code)


class StoreUnavailable(Unavailable):
    """The storage of recordings or exports cannot be reached."""

    code = "store-away"


@dataclass(frozen=True)
class StoredRecording:
    """Audio in the storage."""

    recording_id: UUID
    key: str
    content_type: str
    size_bytes: int
    sha256: str


def create_pending(
    session: Session,
    *,
    call_id: UUID,
    kind: str,
    provider_type: str,
    provider_call_id: str,
    provider_recording_id: str | None = None,
    telephony_account_id: UUID | None = None,
) -> UUID:
    """Record that the carrier will have a recording, and schedule its download; return its id.

    There is one recording per call and kind (`call` or `voicemail`). A repeated call changes
    nothing, except that it stores the carrier's recording id if there was none.
    """
    identity = {"call_id": call_id, "kind": kind}
    new_id = _insert_pending(
        session,
        **identity,
        provider_type=provider_type,
        provider_call_id=provider_call_id,
        provider_recording_id=provider_recording_id,
        telephony_account_id=telephony_account_id,
    )
    if new_id is not None:
        carrier_fetch.schedule_fetch(session, recording_id=new_id)
        return new_id
    if provider_recording_id is not None:
        _set_provider_recording_id(session, provider_recording_id, **identity)
    return session.scalars(select(Recording.id).filter_by(**identity)).one()


def statuses_by_call(session: Session, call_ids: Iterable[UUID]) -> Mapping[UUID, str]:
    """Return each call's recording status: none, pending, stored, failed or deleted."""
    ids = list(call_ids)
    statement = select(Recording.call_id, Recording.status).where(
        Recording.call_id.in_(ids), Recording.kind == "call"
    )
    statuses = {row.call_id: row.status for row in session.execute(statement)}
    return {call_id: statuses.get(call_id, "none") for call_id in ids}


def get_stored(session: Session, *, tenant: TenantRef, call_id: UUID, kind: str) -> StoredRecording:
    """Return a call's stored audio. Raise NotFound and RecordingUnavailable."""
    row = session.scalars(select(Recording).filter_by(call_id=call_id, kind=kind)).one_or_none()
    if row is None:
        raise NotFound
    if row.status != "stored":
        raise RecordingUnavailable(row.status)
    return _to_stored(tenant, row)


def _to_stored(tenant: TenantRef, row: Recording) -> StoredRecording:
    """Validate the row, because an imported row may contain anything."""
    key, size, sha256 = row.storage_key, row.size_bytes, row.sha256
    if key is None or size is None or sha256 is None or not _SHA256.fullmatch(sha256):
        raise RecordingUnavailable
    if size < 0 or not media.belongs_to_tenant(tenant, key):
        raise RecordingUnavailable
    return StoredRecording(
        row.id, key, media.normalize_content_type(row.content_type or ""), size, sha256
    )


def _insert_pending(session: Session, **fields: Any) -> UUID | None:
    """Return the new row's id, or None if there is one for this call and kind."""
    statement = (
        insert(Recording)
        .values(id=uuid4(), status="pending", carrier_copy="kept", **fields)
        .on_conflict_do_nothing(index_elements=["call_id", "kind"])
        .returning(Recording.id)
    )
    return session.scalars(statement).one_or_none()


def _set_provider_recording_id(
    session: Session, provider_recording_id: str, **identity: Any
) -> None:
    """Store the carrier's id of a pending recording and schedule its download: it is ready now."""
    statement = (
        update(Recording)
        .filter_by(status="pending", provider_recording_id=None, **identity)
        .values(provider_recording_id=provider_recording_id)
        .returning(Recording.id)
    )
    recording_id = session.scalars(statement).one_or_none()
    if recording_id is not None:
        carrier_fetch.schedule_fetch(session, recording_id=recording_id)
