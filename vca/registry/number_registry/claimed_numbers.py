"""The claimed numbers of all tenants, for platform commands; reads `public` only."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from vca.registry.number_registry.models import Did
from vca.registry.number_registry.service import report_change
from vca.services import Services
from vca.tenancy.session import public_session

# Number of jobs enqueued per transaction; small, because the queue is shared.
_BATCH_SIZE = 500


@dataclass(frozen=True)
class ClaimedNumber:
    """A number in use, and its tenant."""

    did_number: str
    tenant_id: UUID
    phone_number_id: UUID
    provider_type: str


def list_claimed(session: Session, *, tenant_id: UUID | None = None) -> Sequence[ClaimedNumber]:
    """Return every claimed number, or a tenant's, by number."""
    return _select_claimed(session, tenant_id)


def list_registered(session: Session, *, tenant_id: UUID | None = None) -> Sequence[ClaimedNumber]:
    """Return the claimed numbers that their carrier has confirmed as registered."""
    return _select_claimed(session, tenant_id, Did.registration_status == "registered")


def enqueue_reregistration(*, services: Services, tenant_id: UUID | None = None) -> int:
    """Enqueue a registration for every claimed number, or a tenant's; return the number of jobs.

    For an inactive number, the job finds that no registration is wanted and does nothing.
    """
    job_count, last_number = 0, ""
    while True:
        with public_session(database=services.database) as session:
            batch = _next_batch(session, tenant_id, after=last_number)
            for did in batch:
                report_change(session, did, is_claimed=True, services=services)
        if not batch:
            return job_count
        job_count, last_number = job_count + len(batch), batch[-1].did_number


def _next_batch(session: Session, tenant_id: UUID | None, *, after: str) -> Sequence[Did]:
    query = select(Did).where(Did.state == "claimed", Did.did_number > after)
    if tenant_id is not None:
        query = query.where(Did.tenant_id == tenant_id)
    return session.scalars(query.order_by(Did.did_number).limit(_BATCH_SIZE)).all()


def _select_claimed(
    session: Session, tenant_id: UUID | None, *conditions: ColumnElement[bool]
) -> Sequence[ClaimedNumber]:
    columns: list[Any] = [getattr(Did, field.name) for field in fields(ClaimedNumber)]
    query = select(*columns).where(Did.state == "claimed", *conditions)
    if tenant_id is not None:
        query = query.where(Did.tenant_id == tenant_id)
    return [ClaimedNumber(*row) for row in session.execute(query.order_by(Did.did_number))]
