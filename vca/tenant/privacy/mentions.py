"""Where else a number stands: every text and document of the tenant's tables, whoever's rows.

What the tenant has set up itself (its settings, profiles, numbers and endpoints as they are now)
is looked at and never changed, since calls go by it: whoever erases a number that stands there is
told so. The tables are those that the process has loaded, so that a new feature's are searched too.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    Text,
    UniqueConstraint,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion
from vca.tenant.base import TenantBase
from vca.tenant.privacy.subject import ERASED, Subject

CONFIGURED = ("settings", "phone_numbers", "ai_profiles", "webhooks")
# Read in one statement: what is searched by a regular expression must not take seconds.
WINDOW = 2_000
# What says when a row came about, the best first.
_MOMENTS = ("created_at", "started_at", "timestamp")
_VERSIONS = AiProfileVersion.__table__
# A profile as it is now, which is what the next call reads.
_IN_USE = exists().where(
    AiProfile.id == AiProfileVersion.ai_profile_id, AiProfile.version == AiProfileVersion.version
)


@dataclass(frozen=True)
class Mention:
    """A row that names the number, and in which columns; `call_id` if it is of one."""

    table: str
    key: tuple[Any, ...]
    columns: tuple[str, ...]
    call_id: UUID | None


@dataclass(frozen=True)
class _Searched:
    """A table with columns that may hold anything."""

    table: Table

    @property
    def keys(self) -> list[Any]:
        return list(self.table.primary_key.columns)

    @property
    def texts(self) -> list[Any]:
        return [it for it in self.table.columns if isinstance(it.type, Text | JSONB)]

    @property
    def moment(self) -> Any | None:
        return next((self.table.c[it] for it in _MOMENTS if it in self.table.c), None)

    @property
    def call_id(self) -> Any | None:
        return self.table.c.id if self.table.name == "calls" else self.table.c.get("call_id")

    @property
    def unique(self) -> set[str]:
        """The columns in which no two rows may say the same."""
        constraints = (it for it in self.table.constraints if isinstance(it, UniqueConstraint))
        return {column.name for it in constraints for column in it.columns}

    def naming(self, pattern: str) -> ColumnElement[bool]:
        return or_(*(cast(column, Text).regexp_match(pattern) for column in self.texts))


def configured(session: Session, subject: Subject) -> list[str]:
    """Where the tenant's own configuration names the number, as `phone_numbers.forward_to`."""
    found = set()
    for searched in _tables(CONFIGURED):
        for row in session.execute(select(*searched.texts).where(searched.naming(subject.pattern))):
            named = _changed(subject, row)
            found |= {f"{searched.table.name}.{name}" for name in named}
    return sorted(found)


def find(tenant: TenantRef, subject: Subject, *, until: datetime) -> Iterator[Mention]:
    """Every row outside of the configuration that names the number, a transaction for a window."""
    for searched in _tables():
        for _, rows in _windows(tenant, searched, subject, until):
            for row in rows:
                yield _mention(searched, subject, row)


def erase(
    tenant: TenantRef, subject: Subject, *, until: datetime, live: Collection[UUID]
) -> tuple[dict[str, int], bool]:
    """Take the number out of all that `find` finds: (rows by table, whether that was all).

    What is of a call that goes on is left alone. A row that may not be changed is deleted; one
    that may not even be deleted stays.
    """
    counts: dict[str, int] = {}
    whole = True
    for searched in _tables():
        with enter(tenant) as session:
            may = _rights(session, searched.table.name)
        lock = "UPDATE" in may
        for session, rows in _windows(tenant, searched, subject, until, lock=lock):
            ended = [row for row in rows if _mention(searched, subject, row).call_id not in live]
            done = sum(_scrub(session, searched, subject, row, may) for row in ended)
            whole = whole and len(ended) == len(rows)
            if done:
                counts[searched.table.name] = counts.get(searched.table.name, 0) + done
    return counts, whole


def _tables(names: Sequence[str] = ()) -> Iterator[_Searched]:
    for table in TenantBase.metadata.sorted_tables:
        wanted = table.name in names if names else table.name not in CONFIGURED
        searched = _Searched(table)
        if wanted and searched.texts:
            yield searched


def _windows(
    tenant: TenantRef,
    searched: _Searched,
    subject: Subject,
    until: datetime,
    *,
    lock: bool = False,
) -> Iterator[tuple[Session, Sequence[Row[Any]]]]:
    """The rows that name the number, of each stretch of the table, held until the next is read."""
    after: tuple[Any, ...] | None = None
    while True:
        with enter(tenant) as session:
            last = session.execute(_last_key(searched, after)).one_or_none()
            last_key = tuple(last) if last is not None else None
            named = _named(searched, subject, until, after, last_key)
            rows = session.execute(named.with_for_update() if lock else named).all()
            if rows:
                yield session, rows
        if last_key is None:
            return
        after = last_key


def _last_key(searched: _Searched, after: tuple[Any, ...] | None) -> Select[Any]:
    keys = searched.keys
    wanted = select(*keys).order_by(*keys).offset(WINDOW - 1).limit(1)
    return wanted if after is None else wanted.where(tuple_(*keys) > after)


def _named(
    searched: _Searched,
    subject: Subject,
    until: datetime,
    after: tuple[Any, ...] | None,
    last: tuple[Any, ...] | None,
) -> Select[Any]:
    keys, call_id = searched.keys, searched.call_id
    extra = [call_id] if call_id is not None and call_id not in keys else []
    wanted = select(*keys, *extra, *(it for it in searched.texts if it not in keys)).where(
        searched.naming(subject.pattern)
    )
    if searched.table is _VERSIONS:
        wanted = wanted.where(~_IN_USE)
    if searched.moment is not None:
        wanted = wanted.where(searched.moment <= until)
    if after is not None:
        wanted = wanted.where(tuple_(*keys) > after)
    if last is not None:
        wanted = wanted.where(tuple_(*keys) <= last)
    return wanted


def _mention(searched: _Searched, subject: Subject, row: Row[Any]) -> Mention:
    values = row._mapping
    call_id = searched.call_id
    return Mention(
        searched.table.name,
        tuple(values[key] for key in searched.keys),
        tuple(_changed(subject, row)),
        values[call_id] if call_id is not None else None,
    )


def _changed(subject: Subject, row: Row[Any]) -> dict[str, Any]:
    """The columns that name the number, without it."""
    values = {name: (value, subject.scrubbed(value)) for name, value in row._asdict().items()}
    return {name: new for name, (old, new) in values.items() if new != old}


def _scrub(
    session: Session, searched: _Searched, subject: Subject, row: Row[Any], may: set[str]
) -> bool:
    """Whether the row names the number no more."""
    table, this = searched.table, [key == row._mapping[key] for key in searched.keys]
    changes = {
        name: _in_its_place(searched, subject, name, row._mapping[table.c[name]], new)
        for name, new in _changed(subject, row).items()
    }
    if "UPDATE" in may and changes:
        session.execute(update(table).where(*this).values(changes))
    elif "DELETE" in may:
        session.execute(delete(table).where(*this))
    return bool(may)


def _in_its_place(searched: _Searched, subject: Subject, name: str, old: Any, new: Any) -> Any:
    """What a column says from now on: a number of its own is none any more."""
    column = searched.table.c[name]
    if name in searched.unique:
        return f"{ERASED}-{uuid4().hex}"
    if isinstance(old, str) and subject.is_meant_by(old):
        return None if column.nullable else ERASED
    return new


def _rights(session: Session, table: str) -> set[str]:
    """What the tenant may do to a table: some can only be added to."""
    asked = ("UPDATE", "DELETE")
    held = session.execute(select(*(func.has_table_privilege(table, it) for it in asked))).one()
    return {right for right, has in zip(asked, held, strict=True) if has}
