"""Export and erase the audio of a person's calls."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from vca.kit import clock
from vca.services import Services
from vca.services.lifecycle_hooks import SubjectData, SubjectFile
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.base import any_id, row_to_dict
from vca.tenant.recordings import carrier_fetch, media, storage_metering
from vca.tenant.recordings.models import Recording


def export_audio(session: Session, call_ids: Sequence[UUID]) -> SubjectData:
    """Return the recordings of each call, and the files of those that are stored."""
    rows_by_call: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    files = []
    query = select(Recording).where(any_id(Recording.call_id, call_ids))
    for row in session.scalars(query.order_by(Recording.created_at, Recording.id)):
        rows_by_call[row.call_id].append(row_to_dict(row, without=["storage_key"]))
        if row.status == "stored" and row.storage_key is not None:
            extension = media.EXTENSIONS[media.normalize_content_type(row.content_type or "")]
            name = f"audio/{row.call_id}-{row.kind}.{extension}"
            files.append(SubjectFile("recordings", name, row.storage_key))
    return SubjectData({id: {"recordings": rows_by_call[id]} for id in call_ids}, files=files)


def erase_audio(tenant: TenantRef, call_ids: Sequence[UUID], *, services: Services) -> int:
    """Delete the audio of calls here and at their carriers; return the number of recordings.

    A recording that is being fetched at this moment is deleted by its own job. Raise StorageError;
    a repeated call continues where this one stopped.
    """
    of_calls = any_id(Recording.call_id, call_ids)
    with tenant_session(tenant, database=services.database) as session:
        rows = session.scalars(select(Recording).where(of_calls).with_for_update()).all()
        newly_deleted = sum(_mark_audio_deleted(session, row) for row in rows)
    for row in rows:
        for key in _possible_keys(tenant, row):
            services.store.delete(key)
    with tenant_session(tenant, database=services.database) as session:
        session.execute(update(Recording).where(of_calls).values(storage_key=None, sha256=None))
    return newly_deleted


def _mark_audio_deleted(session: Session, row: Recording) -> bool:
    """Mark the recording as deleted and schedule its deletion at the carrier.

    Return whether it was not deleted before.
    """
    if row.status == "deleted" and row.storage_key is None:
        return False
    was_present, was_stored, now = row.status != "deleted", row.status == "stored", clock.now()
    if row.carrier_copy == "kept":
        carrier_fetch.schedule_fetch(session, recording_id=row.id, stage="deleted")
    row.status, row.updated_at = "deleted", now
    if was_stored:
        session.flush()
        storage_metering.stop_metering(session, row, now=now)
    return was_present


def _possible_keys(tenant: TenantRef, row: Recording) -> set[str]:
    """Return every storage key that may have the audio, also keys left by a killed job."""
    candidates = media.possible_keys(tenant, recording_id=row.id, created_at=row.created_at)
    keys = {key for _, key in candidates}
    if row.storage_key is not None and media.belongs_to_tenant(tenant, row.storage_key):
        keys.add(row.storage_key)
    return keys
