"""What a POST answered under its Idempotency-Key: claim the key, keep the answer, forget, sweep.

The same for both tables: the platform's, and a tenant's inside that tenant's transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import db
from vca.kit.errors import Conflict

CLEANUP_JOB = "idempotency.sweep"
RETENTION = timedelta(hours=24)
# No request is worked on for so long: whoever claimed the key is dead.
ABANDONED_AFTER = timedelta(seconds=120)
RETRY_AFTER_S = 2
_LOCK_NOT_AVAILABLE = "55P03"


class KeyReused(Conflict):
    """The key was used before for something else."""

    code = "idempotency-key-reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before with another request.")


class InProgress(Conflict):
    """The first request under this key is being worked on."""

    code = "idempotency-in-progress"

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key is still being worked on.",
            retry_after_s=RETRY_AFTER_S,
        )


@dataclass(frozen=True)
class IdempotentRequest:
    """A request that bears a key: who sent it, and a hash of what it asks."""

    sender: str
    key: str
    request_hash: str


@dataclass(frozen=True)
class StoredResponse:
    """What the first request under a key was answered."""

    status: int
    headers: Mapping[str, str]
    answer: str


def claim(session: Session, *, table: Table, request: IdempotentRequest) -> UUID | StoredResponse:
    """Make the key ours and return the claim's id, or return what was answered under it.

    Waits while another transaction has the key. Raises InProgress when the wait runs out, or when
    somebody else claimed the key and has not finished, and KeyReused.
    """
    claim_id = uuid4()
    insertion = insert(table).values(
        id=claim_id, api_key=request.sender, key=request.key, request_hash=request.request_hash
    )
    insertion = insertion.on_conflict_do_nothing(index_elements=["api_key", "key"])
    try:
        inserted_id = session.scalar(insertion.returning(table.c.id))
    except DBAPIError as error:
        if db.sqlstate(error) == _LOCK_NOT_AVAILABLE:
            raise InProgress from error
        raise
    return (
        claim_id
        if inserted_id is not None
        else _resolve_existing_claim(session, table, request, claim_id)
    )


def _resolve_existing_claim(
    session: Session, table: Table, request: IdempotentRequest, claim_id: UUID
) -> UUID | StoredResponse:
    """What the row of a used key says; one that a dead process left behind becomes `claim_id`."""
    row = session.execute(
        select(table).where(table.c.api_key == request.sender, table.c.key == request.key)
    ).one_or_none()
    if row is None:  # forgotten or swept at this very moment
        raise InProgress
    if row.request_hash != request.request_hash:
        raise KeyReused
    if row.status is not None:
        return StoredResponse(row.status, row.headers, row.answer)
    abandoned = update(table).where(
        table.c.id == row.id,
        table.c.status.is_(None),
        table.c.created_at < func.now() - ABANDONED_AFTER,
    )
    # Another id, so that the first one, should it live after all, completes nothing.
    takeover = abandoned.values(id=claim_id, created_at=func.now()).returning(table.c.id)
    if session.scalar(takeover) is None:
        raise InProgress
    return claim_id


def complete(
    session: Session, *, table: Table, claim_id: UUID, response: StoredResponse, now: datetime
) -> None:
    """Keep the answer for a day; the last that its transaction does, see `order_sweep`."""
    values = {
        "status": response.status,
        "headers": dict(response.headers),
        "answer": response.answer,
    }
    session.execute(update(table).where(table.c.id == claim_id).values(values))
    schedule_cleanup(session, now=now)


def schedule_cleanup(session: Session, *, now: datetime) -> None:
    """Have the table swept in a day, unless a sweep is ordered already.

    Two who order the first one wait for each other's transaction: so it is done last.
    """
    queue.enqueue(session, CLEANUP_JOB, run_at=now + RETENTION, lock=CLEANUP_JOB)


def release(session: Session, *, table: Table, claim_id: UUID) -> None:
    """Give the key back: what was asked was not done."""
    session.execute(delete(table).where(table.c.id == claim_id))


def delete_expired(session: Session, *, table: Table, now: datetime) -> None:
    """Delete what was kept for its time, and come back when the next one's is over."""
    session.execute(delete(table).where(table.c.created_at <= now - RETENTION))
    oldest = session.scalar(select(func.min(table.c.created_at)))
    if oldest is not None:
        queue.enqueue(session, CLEANUP_JOB, run_at=oldest + RETENTION, lock=CLEANUP_JOB)
