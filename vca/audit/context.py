"""Who does what at this moment: set where an operation begins, asked where it commits.

Carriers and jobs do no deeds: what they change is no operation of anybody's.
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
_CHANGES_KEY, _REQUIRED_KEY = "noted", "due"


@dataclass(frozen=True)
class Actor:
    """Somebody who does something: a key, or whoever sits at the command line."""

    kind: ActorKind
    key_id: UUID | None = None
    key_prefix: str | None = None


@dataclass(frozen=True)
class AuditChange:
    """Something that was changed, and how; `id` None: there is only one of it.

    `tenant_id`: whose it is, where the transaction is in no tenant.
    """

    type: str
    id: UUID | None
    tenant_id: UUID | None
    changes: Mapping[str, Any]


@dataclass
class AuditContext:
    """One operation of somebody's. It is told once, however many transactions it commits.

    `of_each`: once for each thing that it changes. `told` is what was told already.
    """

    actor: Actor
    operation: str
    request_id: str | None = None
    tenant_id: UUID | None = None
    path_resource: tuple[str, UUID] | None = None  # by the request's path
    entry_per_resource: bool = False
    recorded_ids: set[UUID | None] = field(default_factory=set)


_current_context: ContextVar[AuditContext | None] = ContextVar("deed", default=None)


@contextmanager
def audit_scope(audit_context: AuditContext | None) -> Iterator[None]:
    """What is committed within is this deed's."""
    token = _current_context.set(audit_context)
    try:
        yield
    finally:
        _current_context.reset(token)


def current_context() -> AuditContext | None:
    """The deed that is being done, if it is anybody's."""
    return _current_context.get()


def record_change(
    session: Session,
    type: str,
    id: UUID | None,
    *,
    tenant_id: UUID | None = None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Say what the session's transaction changes, where no mapped object shows it.

    `changes` are described already, see `disclosure`. The first transaction of a deed in which
    something was noted tells the deed.
    """
    if _current_context.get() is not None:
        recorded = session.info.setdefault(_CHANGES_KEY, [])
        recorded.append(AuditChange(type, id, tenant_id, changes or {}))


def require_entry(session: Session) -> None:
    """Have the session's transaction tell the deed whatever it changes."""
    session.info[_REQUIRED_KEY] = True


def pop_changes(session: Session) -> list[AuditChange] | None:
    """What was noted, once: None where there is nothing to tell."""
    is_required: bool = session.info.pop(_REQUIRED_KEY, False)
    recorded: list[AuditChange] = session.info.pop(_CHANGES_KEY, [])
    return recorded if is_required or recorded else None
