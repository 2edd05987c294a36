"""Where else a number stands: every text and document of the tenant's tables, whoever's rows.

What the tenant has set up itself is looked at and never changed, since calls go by it: whoever
erases a number that stands there is told so.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.orm import Session

from vca.kit import json
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.privacy import searching
from vca.tenant.privacy.searching import Searched
from vca.tenant.privacy.subject import ERASED, Subject

_E164 = r"\+[1-9][0-9]{6,14}(?![0-9])"


@dataclass(frozen=True)
class Mention:
    """A row that names the number, and in which columns; `call_id` if it is of one."""

    table: str
    key: tuple[Any, ...]
    columns: tuple[str, ...]
    call_id: UUID | None


def configured(session: Session, subject: Subject) -> list[str]:
    """Where the tenant's own configuration names the number, as `phone_numbers.forward_to`."""
    found = set()
    for searched in searching.tables(searching.CONFIGURED):
        naming = select(*searched.texts).where(searched.naming(subject.pattern))
        for row in session.execute(naming):
            found |= {f"{searched.table.name}.{name}" for name in _changed(subject, row)}
    return sorted(found)


def numbers(tenant: TenantRef) -> set[str]:
    """Every number in E.164 that stands anywhere but in the configuration."""
    spelt = re.compile(_E164)
    found: set[str] = set()
    for searched in searching.tables():
        for _, rows in searching.windows(tenant, searched, _E164):
            for row in rows:
                texts = (it if isinstance(it, str) else json.dumps(it).decode() for it in row)
                found.update(*(spelt.findall(text) for text in texts))
    return found


def find(tenant: TenantRef, subject: Subject, *, until: datetime) -> Iterator[Mention]:
    """Every row outside of the configuration that names the number."""
    for searched in searching.tables():
        for _, rows in searching.windows(tenant, searched, subject.pattern, until=until):
            for row in rows:
                yield _mention(searched, subject, row)


def erase(
    tenant: TenantRef, subject: Subject, *, until: datetime, live: Collection[UUID]
) -> tuple[int, bool]:
    """Take the number out of all that `find` finds: (how many rows, whether that was all).

    What is of a call that goes on is left alone. A row that may not be changed is deleted; one
    that may not even be deleted stays.
    """
    done, whole = 0, True
    with enter(tenant) as session:
        rights = _rights(session)
    for searched in searching.tables():
        may = rights[searched.table.name]
        found = searching.windows(
            tenant, searched, subject.pattern, until=until, lock="UPDATE" in may
        )
        for session, rows in found:
            ended = [row for row in rows if _call_id(searched, row) not in live]
            done += sum(_scrub(session, searched, subject, row, may) for row in ended)
            whole = whole and len(ended) == len(rows)
    return done, whole


def _mention(searched: Searched, subject: Subject, row: Row[Any]) -> Mention:
    key = tuple(row._mapping[column] for column in searched.keys)
    columns = tuple(_changed(subject, row))
    return Mention(searched.table.name, key, columns, _call_id(searched, row))


def _call_id(searched: Searched, row: Row[Any]) -> UUID | None:
    column = searched.call_id
    found: UUID | None = row._mapping[column] if column is not None else None
    return found


def _changed(subject: Subject, row: Row[Any]) -> dict[str, Any]:
    """The columns that name the number, without it."""
    values = {name: (value, subject.scrubbed(value)) for name, value in row._asdict().items()}
    return {name: new for name, (old, new) in values.items() if new != old}


def _scrub(
    session: Session, searched: Searched, subject: Subject, row: Row[Any], may: Collection[str]
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


def _in_its_place(searched: Searched, subject: Subject, name: str, old: Any, new: Any) -> Any:
    """What a column says from now on: a number of its own is none any more."""
    column = searched.table.c[name]
    if name in searched.unique:
        return f"{ERASED}-{uuid4().hex}"
    if isinstance(old, str) and subject.is_meant_by(old):
        return None if column.nullable else ERASED
    return new


def _rights(session: Session) -> dict[str, set[str]]:
    """What the tenant may do to each table: some can only be added to."""
    names = [searched.table.name for searched in searching.tables()]
    asked = [(name, right) for name in names for right in ("UPDATE", "DELETE")]
    held = session.execute(select(*(func.has_table_privilege(*it) for it in asked))).one()
    may: dict[str, set[str]] = {name: set() for name in names}
    for (name, right), has in zip(asked, held, strict=True):
        if has:
            may[name].add(right)
    return may
