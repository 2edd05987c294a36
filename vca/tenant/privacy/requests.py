"""The rows of exports and erasures, from the order to its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from vca.kit import at_rest, jobs
from vca.kit.at_rest import Place
from vca.kit.errors import NotFound
from vca.tenancy.schema import TenantRef
from vca.tenant.privacy import ledger
from vca.tenant.privacy.models import PrivacyRequest
from vca.tenant.privacy.subject import Subject

EXPORT = "privacy.export"
ERASE = "privacy.erase"


@dataclass(frozen=True)
class Order:
    """What a job is to do: about whom, and what was there by when."""

    request_id: UUID
    subject: Subject
    until: datetime
    number_hash: str


def place(
    session: Session,
    tenant: TenantRef,
    *,
    kind: str,
    number: str,
    now: datetime,
    request_id: UUID | None = None,
) -> PrivacyRequest:
    """Keep a request and order its job; again, it is to be done again.

    The number is sealed, so that neither a dump nor the job's arguments name it.
    """
    id = request_id or uuid4()
    row = session.get(PrivacyRequest, id, with_for_update=True)
    if row is None:
        row = PrivacyRequest(id=id, kind=kind, created_at=now, result={})
        session.add(row)
    row.status, row.finished_at = "pending", None
    row.number_hash = ledger.hashes(tenant.id, number)[0]
    row.sealed_number = at_rest.current().seal(number, _place(tenant, id))
    session.flush()
    order(session, row)
    return row


def order(session: Session, row: PrivacyRequest, *, run_at: datetime | None = None) -> None:
    """Have a request's job done; one waits at most."""
    if row.kind == "export":
        jobs.enqueue(session, EXPORT, run_at=run_at, lock=f"{EXPORT}:{row.id}", request_id=row.id)
    else:
        jobs.enqueue(session, ERASE, run_at=run_at, lock=f"{ERASE}:{row.id}", request_id=row.id)


def get(session: Session, *, request_id: UUID, kind: str) -> PrivacyRequest:
    """The request; raises NotFound, also for one of the other kind."""
    row = session.get(PrivacyRequest, request_id)
    if row is None or row.kind != kind:
        raise NotFound
    return row


def read(session: Session, tenant: TenantRef, *, request_id: UUID) -> Order | None:
    """What is to be done for a request; None: it was done, or is not wanted any more."""
    row = session.get(PrivacyRequest, request_id)
    if row is None or row.sealed_number is None:
        return None
    number = at_rest.current().open(bytes(row.sealed_number), _place(tenant, row.id))
    return Order(row.id, Subject(number), row.created_at, row.number_hash)


def count(session: Session, request_id: UUID, counts: Mapping[str, int]) -> None:
    """Add to what a request has removed, in the transaction that removes it."""
    row = session.get_one(PrivacyRequest, request_id, with_for_update=True, populate_existing=True)
    removed = dict(row.result.get("removed", {}))
    for name, number in counts.items():
        removed[name] = removed.get(name, 0) + number
    row.result = {**row.result, "removed": removed}
    session.flush()


def note(session: Session, request_id: UUID, **said: Any) -> None:
    """Keep more of what came of a request."""
    row = session.get_one(PrivacyRequest, request_id, with_for_update=True, populate_existing=True)
    row.result = {**row.result, **said}
    session.flush()


def finish(session: Session, request_id: UUID, *, now: datetime) -> PrivacyRequest:
    """A request is done, and its number is known no more."""
    row = session.get_one(PrivacyRequest, request_id, with_for_update=True, populate_existing=True)
    row.status, row.sealed_number, row.finished_at = "done", None, now
    session.flush()
    return row


def _place(tenant: TenantRef, id: UUID) -> Place:
    return Place(tenant.id, "privacy_requests", id, "sealed_number")
