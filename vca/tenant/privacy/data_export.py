"""Export everything that a tenant holds of a person as one zip of JSON documents and audio.

The zip is written to a local temporary file first, call by call. It is then stored in the tenant's
own folder for a day.
"""

import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock, json
from vca.kit.storage import ObjectNotFound, StorageError
from vca.kit.storage.store import CHUNK_BYTES
from vca.observability import log
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core.models import Call, Event, OutboundLeg, Turn
from vca.tenant.messages.models import Message
from vca.tenant.privacy import requests, subject_records, text_search
from vca.tenant.privacy.models import PrivacyRequest
from vca.tenant.privacy.requests import PrivacyJob
from vca.tenant.privacy.subject_records import SubjectCall
from vca.tenant.recordings import media
from vca.tenant.recordings.models import Recording
from vca.tenant.webhooks.models import Delivery

EXPIRE_JOB = "privacy.expire"
RETENTION = timedelta(days=1)
RETRY_DELAY = timedelta(seconds=300)
CONTENT_TYPE = "application/zip"
# Columns that are internal to VCA and say nothing about the person.
_INTERNAL_COLUMNS = ("tenant_id", "storage_key")


def run_export(tenant: TenantRef, *, services: Services, request_id: UUID) -> None:
    """Write an export's file, store it for a day, and retry after a storage failure."""
    with tenant_session(tenant, database=services.database) as session:
        job = requests.load_job(session, tenant, request_id=request_id, services=services)
    if job is None:
        return
    key = storage_key(tenant, request_id)
    try:
        with TemporaryFile() as file:
            counts = _write_archive(tenant, job, file, services=services)
            file.seek(0)
            chunks = iter(partial(file.read, CHUNK_BYTES), b"")
            stored = services.store.put(key, chunks, content_type=CONTENT_TYPE)
        with tenant_session(tenant, database=services.database) as session:
            still_requested = _finish(session, request_id, counts, size_bytes=stored.size_bytes)
        if not still_requested:  # erased in the meantime
            services.store.delete(key)
    except StorageError as error:
        _schedule_retry(tenant, request_id, error, services=services)


def delete_expired(tenant: TenantRef, *, services: Services, request_id: UUID) -> None:
    """Delete an export's file, and retry after a storage failure."""
    try:
        services.store.delete(storage_key(tenant, request_id))
    except StorageError as error:
        log.get_logger().warning("privacy.export_kept", request_id=str(request_id), exc_info=error)
        with tenant_session(tenant, database=services.database) as session:
            _schedule_expiry(session, request_id, run_at=clock.now() + RETRY_DELAY)
        return
    with tenant_session(tenant, database=services.database) as session:
        row = session.get(PrivacyRequest, request_id, with_for_update=True)
        if row is not None:
            row.status, row.sealed_number = "expired", None


def delete_subject_exports(
    tenant: TenantRef, *, services: Services, hashes: Collection[str]
) -> None:
    """Delete the export files of a person who is erased. Raise StorageError."""
    conditions = PrivacyRequest.kind == "export", PrivacyRequest.number_hash.in_(hashes)
    with tenant_session(tenant, database=services.database) as session:
        rows = session.scalars(select(PrivacyRequest).where(*conditions).with_for_update()).all()
        for row in rows:
            row.status, row.sealed_number = "expired", None
    for row in rows:
        services.store.delete(storage_key(tenant, row.id))


def storage_key(tenant: TenantRef, request_id: UUID) -> str:
    """Return the storage key of an export's file."""
    return f"{media.tenant_folder(tenant)}/exports/{request_id.hex}.zip"


def _finish(session: Session, request_id: UUID, counts: dict[str, int], *, size_bytes: int) -> bool:
    """Mark the export as done; return whether its file is still wanted."""
    row = session.get_one(PrivacyRequest, request_id, with_for_update=True)
    if row.sealed_number is None:
        return row.status == "done"  # a second run of the same job
    now = clock.now()
    requests.finish(session, request_id, now=now)
    requests.update_result(session, request_id, holds=counts, size_bytes=size_bytes)
    _schedule_expiry(session, request_id, run_at=now + RETENTION)
    return True


def _schedule_expiry(session: Session, request_id: UUID, *, run_at: datetime) -> None:
    queue.enqueue(
        session, EXPIRE_JOB, run_at=run_at, lock=f"{EXPIRE_JOB}:{request_id}", request_id=request_id
    )


def _schedule_retry(
    tenant: TenantRef, request_id: UUID, error: StorageError, *, services: Services
) -> None:
    log.get_logger().warning("privacy.export_delayed", request_id=str(request_id), exc_info=error)
    with tenant_session(tenant, database=services.database) as session:
        row = session.get_one(PrivacyRequest, request_id)
        requests.schedule(session, row, run_at=clock.now() + RETRY_DELAY)


def _write_archive(
    tenant: TenantRef, job: PrivacyJob, file: BinaryIO, *, services: Services
) -> dict[str, int]:
    """Write the zip; return the number of items of each kind."""
    counts = dict.fromkeys(("calls", "recordings", "messages", "mentions"), 0)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with tenant_session(tenant, database=services.database) as session:
            calls = subject_records.find_calls(session, job.subject, until=job.until)
        for batch in subject_records.batches(calls):
            with tenant_session(tenant, database=services.database) as session:
                payloads_by_call = _load_payloads(session, batch)
            for call in batch:
                counts["calls"] += 1
                counts["recordings"] += _add_call(
                    tenant, archive, call, payloads_by_call, services=services
                )
        counts["messages"] = _add_messages(tenant, archive, job, services=services)
        mention_dicts = [
            _mention_to_dict(mention)
            for mention in text_search.find_mentions(
                tenant, job.subject, until=job.until, services=services
            )
        ]
        counts["mentions"] = len(mention_dicts)
        archive.writestr("mentions.json", json.dumps(mention_dicts))
        manifest = {"number": job.subject.number, "until": job.until, "holds": counts}
        archive.writestr("export.json", json.dumps(manifest))
    return counts


def _add_call(
    tenant: TenantRef,
    archive: zipfile.ZipFile,
    call: SubjectCall,
    payloads_by_call: Mapping[str, list[Any]],
    *,
    services: Services,
) -> int:
    """Add a call's document and its audio; return the number of audio files."""
    with tenant_session(tenant, database=services.database) as session:
        recordings = session.scalars(select(Recording).filter_by(call_id=call.call_id)).all()
        document = {
            **_row_to_dict(session.get_one(Call, call.call_id)),
            "events": _rows_of_call(
                session, Event, call, Event.timestamp, Event.position, Event.id
            ),
            "turns": _rows_of_call(session, Turn, call, Turn.sequence),
            "dialled": _rows_of_call(session, OutboundLeg, call, OutboundLeg.created_at),
            "recordings": [_row_to_dict(row) for row in recordings],
            "told": payloads_by_call.get(str(call.call_id), []),
        }
    archive.writestr(f"calls/{call.call_id}.json", json.dumps(document))
    return sum(_add_audio(tenant, archive, row, services=services) for row in recordings)


def _add_audio(
    tenant: TenantRef, archive: zipfile.ZipFile, row: Recording, *, services: Services
) -> bool:
    key = row.storage_key
    if row.status != "stored" or key is None or not media.belongs_to_tenant(tenant, key):
        return False
    extension = media.EXTENSIONS[media.normalize_content_type(row.content_type or "")]
    name = f"audio/{row.call_id}-{row.kind}.{extension}"
    try:
        with (
            closing(services.store.open(key)) as chunks,
            archive.open(name, "w") as member,
        ):
            for chunk in chunks:
                member.write(chunk)
    except ObjectNotFound:  # imports do not include audio
        return False
    return True


def _add_messages(
    tenant: TenantRef, archive: zipfile.ZipFile, job: PrivacyJob, *, services: Services
) -> int:
    with tenant_session(tenant, database=services.database) as session:
        message_ids = subject_records.find_messages(session, job.subject, until=job.until)
        query = select(Message).where(subject_records.any_id(Message.id, message_ids))
        rows = session.scalars(query.order_by(Message.created_at, Message.id)).all()
        archive.writestr("messages.json", json.dumps([_row_to_dict(row) for row in rows]))
    return len(rows)


def _load_payloads(session: Session, calls: Sequence[SubjectCall]) -> Mapping[str, list[Any]]:
    """Return the payloads of the calls' webhook deliveries by call id."""
    call_id = Delivery.payload["data"]["call_id"].astext
    is_of_calls = call_id.in_([str(call.call_id) for call in calls])
    payloads_by_call: dict[str, list[Any]] = defaultdict(list)
    query = select(call_id, Delivery.payload).where(is_of_calls).order_by(Delivery.created_at)
    for payload_call_id, payload in session.execute(query):
        payloads_by_call[payload_call_id].append(payload)
    return payloads_by_call


def _rows_of_call(
    session: Session, table: Any, call: SubjectCall, *order_by: Any
) -> list[dict[str, Any]]:
    rows = session.scalars(select(table).filter_by(call_id=call.call_id).order_by(*order_by))
    return [_row_to_dict(row) for row in rows]


def _row_to_dict(row: Any) -> dict[str, Any]:
    """Return a row's columns, except the internal ones."""
    columns: Iterator[str] = (column.name for column in row.__table__.columns)
    return {name: getattr(row, name) for name in columns if name not in _INTERNAL_COLUMNS}


def _mention_to_dict(mention: text_search.Mention) -> dict[str, Any]:
    """Return where the number is mentioned, without the text: it may concern somebody else."""
    return {"table": mention.table, "key": mention.key, "columns": mention.columns}
