"""Expect recordings, tell their status, find their audio."""

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
from vca.tenant.recordings import audio, fetching
from vca.tenant.recordings.models import Recording

_SHA256 = re.compile("[0-9a-f]{64}", re.ASCII)
_WHY_NOT = {
    "pending": ("recording-not-ready", "The recording is not there yet."),
    "failed": ("recording-failed", "The carrier did not give the recording."),
    "deleted": ("recording-deleted", "The recording was deleted."),
}


class RecordingNotThere(DomainError):
    """The call was recorded, and there is no audio; the code says why."""

    status = 404
    code = "recording-missing"

    def __init__(self, status: str = "stored") -> None:
        default = (self.code, "The audio of the recording is not in this deployment's store.")
        code, detail = _WHY_NOT.get(status, default)
        super().__init__(detail, code=code)


class StoreAway(Unavailable):
    """The store of recordings did not do what it was asked."""

    code = "store-away"


@dataclass(frozen=True)
class Kept:
    """Audio in the store."""

    recording_id: UUID
    key: str
    content_type: str
    size_bytes: int
    sha256: str


def expect(
    session: Session,
    *,
    call_id: UUID,
    kind: str,
    provider_type: str,
    provider_call_id: str,
    provider_recording_id: str | None = None,
    telephony_account_id: UUID | None = None,
) -> UUID:
    """Keep that the carrier will have a recording of the call, and have it fetched; its id.

    Once for each call and kind, `call` or `voicemail`: later ones change nothing, but that a
    carrier's id of the recording is taken when there was none.
    """
    named = {"call_id": call_id, "kind": kind}
    made = _insert(
        session,
        **named,
        provider_type=provider_type,
        provider_call_id=provider_call_id,
        provider_recording_id=provider_recording_id,
        telephony_account_id=telephony_account_id,
    )
    if made is not None:
        fetching.order(session, recording_id=made)
        return made
    if provider_recording_id is not None:
        _name(session, provider_recording_id, **named)
    return session.scalars(select(Recording.id).filter_by(**named)).one()


def status_of(session: Session, call_ids: Iterable[UUID]) -> Mapping[UUID, str]:
    """The recording's status of each call: none, pending, stored, failed or deleted."""
    asked = list(call_ids)
    statement = select(Recording.call_id, Recording.status).where(
        Recording.call_id.in_(asked), Recording.kind == "call"
    )
    found = {row.call_id: row.status for row in session.execute(statement)}
    return {call_id: found.get(call_id, "none") for call_id in asked}


def find_kept(session: Session, *, tenant: TenantRef, call_id: UUID, kind: str) -> Kept:
    """Where the audio of a call is. Raises NotFound and RecordingNotThere."""
    row = session.scalars(select(Recording).filter_by(call_id=call_id, kind=kind)).one_or_none()
    if row is None:
        raise NotFound
    if row.status != "stored":
        raise RecordingNotThere(row.status)
    return _kept(tenant, row)


def _kept(tenant: TenantRef, row: Recording) -> Kept:
    """Nothing of a row is believed that was imported: an archive may say anything."""
    key, size, sha256 = row.storage_key, row.size_bytes, row.sha256
    if key is None or size is None or sha256 is None or not _SHA256.fullmatch(sha256):
        raise RecordingNotThere
    if size < 0 or not audio.is_own(tenant, key):
        raise RecordingNotThere
    return Kept(row.id, key, audio.type_of(row.content_type or ""), size, sha256)


def _insert(session: Session, **fields: Any) -> UUID | None:
    """The new row's id, or None when there is one for this call and kind."""
    statement = (
        insert(Recording)
        .values(id=uuid4(), status="pending", carrier_copy="kept", **fields)
        .on_conflict_do_nothing(index_elements=["call_id", "kind"])
        .returning(Recording.id)
    )
    return session.scalars(statement).one_or_none()


def _name(session: Session, provider_recording_id: str, **named: Any) -> None:
    """Take the carrier's id of a recording that is still to be fetched; it is ready then."""
    statement = (
        update(Recording)
        .filter_by(status="pending", provider_recording_id=None, **named)
        .values(provider_recording_id=provider_recording_id)
        .returning(Recording.id)
    )
    recording_id = session.scalars(statement).one_or_none()
    if recording_id is not None:
        fetching.order(session, recording_id=recording_id)
