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

from vca.kit import db, jobs
from vca.kit.errors import Conflict

SWEEP = "idempotency.sweep"
KEPT_FOR = timedelta(hours=24)
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
class Asked:
    """A request that bears a key: who sent it, and a hash of what it asks."""

    sender: str
    key: str
    request_hash: str


@dataclass(frozen=True)
class Kept:
    """What the first request under a key was answered."""

    status: int
    headers: Mapping[str, str]
    answer: str


def claim(session: Session, *, table: Table, asked: Asked) -> UUID | Kept:
    """Make the key ours and return the claim's id, or return what was answered under it.

    Waits while another transaction has the key. Raises InProgress when the wait runs out, or when
    somebody else claimed the key and has not finished, and KeyReused.
    """
    claim_id = uuid4()
    new = insert(table).values(
        id=claim_id, api_key=asked.sender, key=asked.key, request_hash=asked.request_hash
    )
    new = new.on_conflict_do_nothing(index_elements=["api_key", "key"])
    try:
        made = session.scalar(new.returning(table.c.id))
    except DBAPIError as error:
        if db.sqlstate(error) == _LOCK_NOT_AVAILABLE:
            raise InProgress from error
        raise
    return claim_id if made is not None else _found(session, table, asked, claim_id)


def _found(session: Session, table: Table, asked: Asked, claim_id: UUID) -> UUID | Kept:
    """What the row of a used key says; one that a dead process left behind becomes `claim_id`."""
    found = session.execute(
        select(table).where(table.c.api_key == asked.sender, table.c.key == asked.key)
    ).one_or_none()
    if found is None:  # forgotten or swept at this very moment
        raise InProgress
    if found.request_hash != asked.request_hash:
        raise KeyReused
    if found.status is not None:
        return Kept(found.status, found.headers, found.answer)
    abandoned = update(table).where(
        table.c.id == found.id,
        table.c.status.is_(None),
        table.c.created_at < func.now() - ABANDONED_AFTER,
    )
    # Another id, so that the first one, should it live after all, completes nothing.
    ours = abandoned.values(id=claim_id, created_at=func.now()).returning(table.c.id)
    if session.scalar(ours) is None:
        raise InProgress
    return claim_id


def complete(session: Session, *, table: Table, claim_id: UUID, kept: Kept, now: datetime) -> None:
    """Keep the answer for a day; the last that its transaction does, see `order_sweep`."""
    values = {"status": kept.status, "headers": dict(kept.headers), "answer": kept.answer}
    session.execute(update(table).where(table.c.id == claim_id).values(values))
    order_sweep(session, now=now)


def order_sweep(session: Session, *, now: datetime) -> None:
    """Have the table swept in a day, unless a sweep is ordered already.

    Two who order the first one wait for each other's transaction: so it is done last.
    """
    jobs.enqueue(session, SWEEP, run_at=now + KEPT_FOR, lock=SWEEP)


def forget(session: Session, *, table: Table, claim_id: UUID) -> None:
    """Give the key back: what was asked was not done."""
    session.execute(delete(table).where(table.c.id == claim_id))


def sweep(session: Session, *, table: Table, now: datetime) -> None:
    """Delete what was kept for its time, and come back when the next one's is over."""
    session.execute(delete(table).where(table.c.created_at <= now - KEPT_FOR))
    oldest = session.scalar(select(func.min(table.c.created_at)))
    if oldest is not None:
        jobs.enqueue(session, SWEEP, run_at=oldest + KEPT_FOR, lock=SWEEP)
