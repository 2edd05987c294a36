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
_NOTED, _DUE = "noted", "due"


@dataclass(frozen=True)
class Actor:
    """Somebody who does something: a key, or whoever sits at the command line."""

    kind: ActorKind
    key_id: UUID | None = None
    key_prefix: str | None = None


@dataclass(frozen=True)
class Noted:
    """Something that was changed, and how; `id` None: there is only one of it.

    `tenant_id`: whose it is, where the transaction is in no tenant.
    """

    type: str
    id: UUID | None
    tenant_id: UUID | None
    changes: Mapping[str, Any]


@dataclass
class Deed:
    """One operation of somebody's. It is told once, however many transactions it commits.

    `of_each`: once for each thing that it changes. `told` is what was told already.
    """

    actor: Actor
    operation: str
    request_id: str | None = None
    tenant_id: UUID | None = None
    named: tuple[str, UUID] | None = None  # by the request's path
    of_each: bool = False
    told: set[UUID | None] = field(default_factory=set)


_now: ContextVar[Deed | None] = ContextVar("deed", default=None)


@contextmanager
def performing(deed: Deed | None) -> Iterator[None]:
    """What is committed within is this deed's."""
    token = _now.set(deed)
    try:
        yield
    finally:
        _now.reset(token)


def current() -> Deed | None:
    """The deed that is being done, if it is anybody's."""
    return _now.get()


def note(
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
    if _now.get() is not None:
        found = session.info.setdefault(_NOTED, [])
        found.append(Noted(type, id, tenant_id, changes or {}))


def expect(session: Session) -> None:
    """Have the session's transaction tell the deed whatever it changes."""
    session.info[_DUE] = True


def taken(session: Session) -> list[Noted] | None:
    """What was noted, once: None where there is nothing to tell."""
    due: bool = session.info.pop(_DUE, False)
    noted: list[Noted] = session.info.pop(_NOTED, [])
    return noted if due or noted else None
