"""Export everything that a tenant holds of a person as one zip of JSON documents and audio.

The zip is written to a local temporary file first, a few calls at a time. It is then stored in the
tenant's own folder for a day.
"""

import zipfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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
from vca.kit.backoff import BackOff
from vca.kit.storage import ObjectNotFound, StorageError
from vca.kit.storage.store import CHUNK_BYTES
from vca.observability import log
from vca.services import Services
from vca.services.lifecycle_hooks import SubjectFile, SubjectRecords
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import subject_records
from vca.tenant.privacy import requests, text_search
from vca.tenant.privacy.models import PrivacyRequest
from vca.tenant.privacy.requests import PrivacyJob
from vca.tenant.recordings import media

EXPIRE_JOB = "privacy.expire"
RETENTION = timedelta(days=1)
BACK_OFF = BackOff((300,), jitter=0)
CONTENT_TYPE = "application/zip"
# Calls whose documents are in memory at once.
_CALLS_PER_BATCH = 25


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
            _schedule_expiry(session, request_id, run_at=clock.now() + BACK_OFF.delay(1))
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
        requests.schedule(session, row, run_at=clock.now() + BACK_OFF.delay(1))


def _write_archive(
    tenant: TenantRef, job: PrivacyJob, file: BinaryIO, *, services: Services
) -> dict[str, int]:
    """Write the zip; return the number of items of each kind."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        export = _SubjectArchive(tenant, archive, services)
        with tenant_session(tenant, database=services.database) as session:
            calls = subject_records.find_calls(session, job.subject, until=job.until)
        for batch in subject_records.batches(calls, size=_CALLS_PER_BATCH):
            export.add_records(SubjectRecords(call_ids=[call.call_id for call in batch]))
        with tenant_session(tenant, database=services.database) as session:
            message_ids = subject_records.find_messages(session, job.subject, until=job.until)
        export.add_records(SubjectRecords(message_ids=message_ids))
        export.add_rows(
            "mentions",
            [
                _mention_to_dict(mention)
                for mention in text_search.find_mentions(
                    tenant, job.subject, until=job.until, services=services
                )
            ],
        )
        return export.finish(number=job.subject.number, until=job.until)


class _SubjectArchive:
    """Writes what the features hold of a person, and counts it by kind."""

    def __init__(self, tenant: TenantRef, archive: zipfile.ZipFile, services: Services) -> None:
        self._tenant, self._archive, self._services = tenant, archive, services
        self._rows: dict[str, list[Mapping[str, Any]]] = {"messages": [], "mentions": []}
        self._counts = Counter(calls=0, recordings=0)

    def add_records(self, records: SubjectRecords) -> None:
        """Add a document for each call, to which every feature contributes, files, and rows."""
        hooks = self._services.lifecycle_hooks
        with tenant_session(self._tenant, database=self._services.database) as session:
            parts = list(hooks.export_subject(session, records))
        documents: dict[UUID, dict[str, Any]] = {call_id: {} for call_id in records.call_ids}
        for part in parts:
            for call_id, fields in part.of_calls.items():
                documents[call_id] |= fields
            for kind, rows in part.rows.items():
                self.add_rows(kind, rows)
        for call_id, document in documents.items():
            self._archive.writestr(f"calls/{call_id}.json", json.dumps(document))
        self._counts["calls"] += len(documents)
        for file in (file for part in parts for file in part.files):
            self._counts[file.kind] += self._add_file(file)

    def add_rows(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows to the file of their kind."""
        self._rows.setdefault(kind, []).extend(rows)

    def finish(self, **facts: Any) -> dict[str, int]:
        """Write the files of rows and the manifest; return the counts."""
        for kind, rows in self._rows.items():
            self._archive.writestr(f"{kind}.json", json.dumps(rows))
            self._counts[kind] = len(rows)
        counts = dict(self._counts)
        self._archive.writestr("export.json", json.dumps({**facts, "holds": counts}))
        return counts

    def _add_file(self, file: SubjectFile) -> bool:
        """Copy a stored file; return whether it exists in the tenant's own folder."""
        if not media.belongs_to_tenant(self._tenant, file.key):
            return False
        try:
            with (
                closing(self._services.store.open(file.key)) as chunks,
                self._archive.open(file.name, "w") as member,
            ):
                for chunk in chunks:
                    member.write(chunk)
        except ObjectNotFound:  # imports do not include audio
            return False
        return True


def _mention_to_dict(mention: text_search.Mention) -> dict[str, Any]:
    """Return where the number is mentioned, without the text: it may concern somebody else."""
    return {"table": mention.table, "key": mention.key, "columns": mention.columns}
