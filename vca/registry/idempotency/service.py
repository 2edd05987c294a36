"""Claim an Idempotency-Key, store the response, release the key, and delete expired rows.

The code serves both tables: the platform's, and a tenant's in that tenant's transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import ScalarSelect, Table, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import db
from vca.kit.errors import Conflict
from vca.registry import caps
from vca.tenancy.session import SESSION_TENANT

CLEANUP_JOB = "idempotency.sweep"
RETENTION = timedelta(hours=24)
# No request takes longer than this: a process that still holds the key has died.
ABANDONED_AFTER = timedelta(seconds=120)
RETRY_AFTER_S = 2
# One in 1,024 of a tenant's keys is counted to estimate their number.
SAMPLE_BITS = 10
_LOCK_NOT_AVAILABLE = "55P03"


class KeyReused(Conflict):
    """The key was already used for a different request."""

    code = "idempotency-key-reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was already used for a different request.")


class InProgress(Conflict):
    """The first request with this key is still in progress."""

    code = "idempotency-in-progress"

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key is still in progress.",
            retry_after_s=RETRY_AFTER_S,
        )


@dataclass(frozen=True)
class IdempotentRequest:
    """A request with a key: its sender, and a hash of its contents."""

    sender: str
    key: str
    request_hash: str


@dataclass(frozen=True)
class StoredResponse:
    """The response to the first request with a key."""

    status: int
    headers: Mapping[str, str]
    answer: str


def claim(session: Session, *, table: Table, request: IdempotentRequest) -> UUID | StoredResponse:
    """Claim the key and return the claim's id, or return the stored response.

    Waits while another transaction holds the key. Raises InProgress if the wait times out or
    another claim is unfinished, KeyReused, and LimitReached for too many keys of a tenant.
    """
    claim_id = uuid4()
    insertion = insert(table).values(
        id=claim_id, api_key=request.sender, key=request.key, request_hash=request.request_hash
    )
    insertion = insertion.on_conflict_do_nothing(index_elements=["api_key", "key"])
    try:
        inserted = session.execute(
            insertion.returning(_count_sample(table, claim_id).label("sample_size"))
        ).one_or_none()
    except DBAPIError as error:
        if db.sqlstate(error) == _LOCK_NOT_AVAILABLE:
            raise InProgress from error
        raise
    if inserted is None:
        return _resolve_existing_claim(session, table, request, claim_id)
    limit = caps.CAPS["idempotency_keys"].maximum
    if SESSION_TENANT in session.info and inserted.sample_size << SAMPLE_BITS >= limit:
        raise caps.LimitReached("idempotency_keys", limit)
    return claim_id


def _count_sample(table: Table, claim_id: UUID) -> ScalarSelect[int]:
    """Return the number of rows whose random id begins with the same bits as the claim's.

    Counting all rows would take tens of milliseconds near the cap. The estimate is a tenth too
    large or too small.
    """
    other_bits = 128 - SAMPLE_BITS
    low = claim_id.int >> other_bits << other_bits
    high = low + (1 << other_bits) - 1
    is_sample = table.c.id.between(UUID(int=low), UUID(int=high))
    return select(func.count()).select_from(table).where(is_sample).scalar_subquery()


def _resolve_existing_claim(
    session: Session, table: Table, request: IdempotentRequest, claim_id: UUID
) -> UUID | StoredResponse:
    """Return the stored response, or take over the key of a dead process as `claim_id`."""
    row = session.execute(
        select(table).where(table.c.api_key == request.sender, table.c.key == request.key)
    ).one_or_none()
    if row is None:  # released or deleted just now
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
    # The new id makes sure that the first process, if it is still alive, completes nothing.
    takeover = abandoned.values(id=claim_id, created_at=func.now()).returning(table.c.id)
    if session.scalar(takeover) is None:
        raise InProgress
    return claim_id


def complete(
    session: Session, *, table: Table, claim_id: UUID, response: StoredResponse, now: datetime
) -> None:
    """Store the response for a day; call it last in its transaction, see `schedule_cleanup`."""
    values = {
        "status": response.status,
        "headers": dict(response.headers),
        "answer": response.answer,
    }
    session.execute(update(table).where(table.c.id == claim_id).values(values))
    schedule_cleanup(session, now=now)


def schedule_cleanup(session: Session, *, now: datetime) -> None:
    """Schedule a cleanup of the table in a day, unless one is scheduled already.

    Call it last in a transaction: two transactions that schedule the first cleanup wait for each
    other.
    """
    queue.enqueue(session, CLEANUP_JOB, run_at=now + RETENTION, lock=CLEANUP_JOB)


def release(session: Session, *, table: Table, claim_id: UUID) -> None:
    """Release the key, because the request was not executed."""
    session.execute(delete(table).where(table.c.id == claim_id))


def delete_expired(session: Session, *, table: Table, now: datetime) -> None:
    """Delete expired rows, and schedule the next cleanup for the oldest remaining row."""
    session.execute(delete(table).where(table.c.created_at <= now - RETENTION))
    oldest = session.scalar(select(func.min(table.c.created_at)))
    if oldest is not None:
        queue.enqueue(session, CLEANUP_JOB, run_at=oldest + RETENTION, lock=CLEANUP_JOB)
