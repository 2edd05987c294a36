"""Create, read and update the rows of privacy requests, and schedule their jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit.encryption import EncryptionContext
from vca.kit.errors import NotFound
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenant.privacy import erasure_ledger
from vca.tenant.privacy.data_subject import DataSubject
from vca.tenant.privacy.models import PrivacyRequest

EXPORT_JOB = "privacy.export"
ERASE_JOB = "privacy.erase"


@dataclass(frozen=True)
class PrivacyJob:
    """The work of a job: the person, and the time up to which data is included."""

    request_id: UUID
    subject: DataSubject
    until: datetime
    number_hash: str


def create_request(
    session: Session,
    tenant: TenantRef,
    *,
    services: Services,
    kind: str,
    number: str,
    now: datetime,
    request_id: UUID | None = None,
) -> PrivacyRequest:
    """Store a request and schedule its job; an existing request is started again.

    The number is encrypted, so that neither a dump nor the job's arguments contain it.
    """
    id = request_id or uuid4()
    row = session.get(PrivacyRequest, id, with_for_update=True)
    if row is None:
        row = PrivacyRequest(id=id, kind=kind, created_at=now, result={})
        session.add(row)
    row.status, row.finished_at = "pending", None
    row.number_hash = erasure_ledger.number_hashes(tenant.id, number, services=services)[0]
    row.sealed_number = services.keyring.encrypt(number, _encryption_context(tenant, id))
    session.flush()
    schedule(session, row)
    return row


def schedule(session: Session, row: PrivacyRequest, *, run_at: datetime | None = None) -> None:
    """Enqueue the request's job; at most one is queued."""
    if row.kind == "export":
        queue.enqueue(
            session, EXPORT_JOB, run_at=run_at, lock=f"{EXPORT_JOB}:{row.id}", request_id=row.id
        )
    else:
        queue.enqueue(
            session, ERASE_JOB, run_at=run_at, lock=f"{ERASE_JOB}:{row.id}", request_id=row.id
        )


def get(session: Session, *, request_id: UUID, kind: str) -> PrivacyRequest:
    """Return the request. Raise NotFound, also for a request of the other kind."""
    row = session.get(PrivacyRequest, request_id)
    if row is None or row.kind != kind:
        raise NotFound
    return row


def load_job(
    session: Session, tenant: TenantRef, *, services: Services, request_id: UUID
) -> PrivacyJob | None:
    """Return the work of a request, or None if it is done or no longer wanted."""
    row = session.get(PrivacyRequest, request_id)
    if row is None or row.sealed_number is None:
        return None
    number = services.keyring.decrypt(bytes(row.sealed_number), _encryption_context(tenant, row.id))
    return PrivacyJob(row.id, DataSubject(number), row.created_at, row.number_hash)


def add_removed(session: Session, request_id: UUID, counts: Mapping[str, int]) -> None:
    """Add to the request's counts of removed items, in the transaction that removes them."""
    row = session.get_one(PrivacyRequest, request_id, with_for_update=True, populate_existing=True)
    removed = dict(row.result.get("removed", {}))
    for name, number in counts.items():
        removed[name] = removed.get(name, 0) + number
    row.result = {**row.result, "removed": removed}
    session.flush()


def update_result(session: Session, request_id: UUID, **entries: Any) -> None:
    """Add entries to the request's result."""
    row = session.get_one(PrivacyRequest, request_id, with_for_update=True, populate_existing=True)
    row.result = {**row.result, **entries}
    session.flush()


def finish(session: Session, request_id: UUID, *, now: datetime) -> PrivacyRequest:
    """Mark the request as done and delete its number."""
    row = session.get_one(PrivacyRequest, request_id, with_for_update=True, populate_existing=True)
    row.status, row.sealed_number, row.finished_at = "done", None, now
    session.flush()
    return row


def _encryption_context(tenant: TenantRef, id: UUID) -> EncryptionContext:
    return EncryptionContext(tenant.id, "privacy_requests", id, "sealed_number")
