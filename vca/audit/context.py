"""The audit context: who performs which operation; set when it starts, read when it commits.

Carrier webhooks and jobs have no audit context, because no user performs them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy.orm import Session

ActorKind = Literal["platform_key", "tenant_key", "command_line"]
ACTORS: tuple[ActorKind, ...] = ("platform_key", "tenant_key", "command_line")
_CHANGES_KEY, _REQUIRED_KEY = "audit_changes", "audit_required"


@dataclass(frozen=True)
class Actor:
    """Who performs an operation: an API key, or the user of the command line."""

    kind: ActorKind
    key_id: UUID | None = None
    key_prefix: str | None = None


@dataclass(frozen=True)
class AuditChange:
    """A changed resource and its changes; `id` is None if there is only one such resource.

    `tenant_id` is the owner, for a transaction that is in no tenant.
    """

    type: str
    id: UUID | None
    tenant_id: UUID | None
    changes: Mapping[str, Any]


@dataclass
class AuditContext:
    """One operation of an actor. It gives one audit entry, however many transactions it commits.

    `hash_key` is the key of the hashes that stand for withheld values. `entry_per_resource`: one
    entry for each changed resource instead. `recorded_ids` are the resources that have an entry
    already.
    """

    actor: Actor
    operation: str
    hash_key: str
    request_id: str | None = None
    tenant_id: UUID | None = None
    path_resource: tuple[str, UUID] | None = None  # the resource that the request's path names
    entry_per_resource: bool = False
    recorded_ids: set[UUID | None] = field(default_factory=set)


_current_context: ContextVar[AuditContext | None] = ContextVar("audit_context", default=None)


@contextmanager
def audit_scope(audit_context: AuditContext | None) -> Iterator[None]:
    """Attribute all commits inside the block to this operation."""
    token = _current_context.set(audit_context)
    try:
        yield
    finally:
        _current_context.reset(token)


def current_context() -> AuditContext | None:
    """Return the current operation, or None if no actor performs one."""
    return _current_context.get()


def record_change(
    session: Session,
    type: str,
    id: UUID | None,
    *,
    tenant_id: UUID | None = None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Record a change of the session's transaction that no mapped object shows.

    `changes` must be redacted already, see `redaction`. The first transaction of an operation in
    which a change was recorded writes the audit entry.
    """
    if _current_context.get() is not None:
        recorded = session.info.setdefault(_CHANGES_KEY, [])
        recorded.append(AuditChange(type, id, tenant_id, changes or {}))


def require_entry(session: Session) -> None:
    """Write an audit entry with the session's transaction, whether or not it changes anything."""
    session.info[_REQUIRED_KEY] = True


def pop_changes(session: Session) -> list[AuditChange] | None:
    """Return and remove the recorded changes; None if there is nothing to write."""
    is_required: bool = session.info.pop(_REQUIRED_KEY, False)
    recorded: list[AuditChange] = session.info.pop(_CHANGES_KEY, [])
    return recorded if is_required or recorded else None
