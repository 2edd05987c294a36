"""Seal anew what is not under the newest key, a hundred tenants at a look.

What is left to do stands in the values themselves, each of which names its key: so a run that was
killed is gone on with by the next, and several at once only share the work. A value is changed if
it still is what was read, and otherwise looked at again; nobody waits for us longer than for the
update of one tenant's rows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from uuid import UUID

import psycopg2.errors
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from vca.kit import at_rest, db, deeds
from vca.kit.at_rest import CannotOpen, Place
from vca.kit.db import Database
from vca.registry.tenants.models import PURGING, Tenant
from vca.tenancy import citus, schema
from vca.tenancy.session import public
from vca.tenancy.tables import quoted
from vca.tenant.sealed import ENCRYPTED, PLATFORMS

BATCH = 100
# A server process remembers every table that it has opened.
_TENANTS_PER_CONNECTION = 2_000
# So often is looked again at what somebody else has changed meanwhile.
_LOOKS = 5
# A row that somebody holds, a tenant that has just been purged: looked at again.
_MISSED = (
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.InvalidSchemaName,
)
# A schema at an older revision has not all of them.
_THERE = text("""
SELECT n.nspname, c.relname, a.attname
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = ANY(:tables)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY(:columns) AND NOT a.attisdropped
WHERE n.nspname = ANY(:schemas)
""")
_OLD = """
SELECT '{schema}', '{table}', '{column}', id, {value} FROM {source}
WHERE substring({value} FROM 1 FOR octet_length(%(mark)s::bytea)) <> %(mark)s::bytea
"""
_CHANGE = """
UPDATE {source} SET {value} = '\\x{new}' WHERE id = '{id}' AND {value} = '\\x{old}'
"""


@dataclass(frozen=True)
class Kept:
    """A value that is not under the newest key, in a tenant's schema or in `public` (None)."""

    tenant: UUID | None
    table: str
    column: str
    id: UUID
    value: bytes

    @property
    def place(self) -> Place:
        """What it is bound to."""
        return Place(self.tenant, self.table, self.id, self.column)

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return f"{self.tenant or 'public'} {self.table}.{self.column}"


class Observer:
    """Is told how a run goes; this one says nothing."""

    def began(self, tenants: int) -> None:
        """So many tenants are looked at."""

    def advanced(self, tenants: int, resealed: int) -> None:
        """So many are done with, and so many values were found and sealed anew by now."""


@dataclass
class Outcome:
    """What a run did. `unreadable` counts what no key of ours opens, by `tenant table.column`.

    `left` are values that somebody held or changed whenever they were looked at.
    """

    tenants: int = 0
    resealed: int = 0
    left: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)

    @property
    def whole(self) -> bool:
        """Whether nothing needs an older key any more."""
        return not self.left and not self.unreadable


def rotate(
    database: Database, *, dry_run: bool = False, observer: Observer | None = None
) -> Outcome:
    """Seal every value anew that is not under the newest key; `database` is the owner's.

    Of deleted tenants too, which may be restored. A `dry_run` opens what it would seal, and changes
    nothing. Raises DatabaseFailure; what was done by then is done.
    """
    told, outcome = observer or Observer(), Outcome()
    tenants = _begin(database, dry_run)
    told.began(len(tenants))
    _rotate(database, [None], outcome, dry_run)
    size = 1 if citus.in_use() else BATCH
    for first in range(0, len(tenants), size):
        batch = tenants[first : first + size]
        _rotate(database, batch, outcome, dry_run)
        outcome.tenants += len(batch)
        told.advanced(outcome.tenants, outcome.resealed)
        if outcome.tenants % _TENANTS_PER_CONNECTION < size:
            database.close()
    return outcome


def _begin(database: Database, dry_run: bool) -> Sequence[UUID]:
    with public(database=database) as session:
        if not dry_run:
            deeds.note(session, "deployment", None)
        wanted = select(Tenant.id).where(Tenant.schema_revision != PURGING)
        return session.scalars(wanted.order_by(Tenant.created_at, Tenant.id)).all()


def _rotate(
    database: Database, batch: Sequence[UUID | None], outcome: Outcome, dry_run: bool
) -> None:
    """Do these tenants, or `public`: look, change, and look again until nothing is left to do."""
    seen: set[Place] = set()
    for look in range(_LOOKS):
        sealed, unreadable = _look(database, batch)
        waiting = {kept.place for kept in sealed}
        seen |= waiting
        if dry_run or not sealed or look == _LOOKS - 1:
            break
        _change(database, sealed)
    outcome.unreadable += unreadable
    outcome.left += 0 if dry_run else len(waiting)
    outcome.resealed += len(seen) if dry_run else len(seen - waiting)


def _look(
    database: Database, batch: Sequence[UUID | None]
) -> tuple[dict[Kept, bytes], Counter[str]]:
    """What is not under the newest key with what it becomes, and where nothing could be opened."""
    keys, sealed, unreadable = at_rest.current(), {}, Counter[str]()
    for kept in _old(database, batch):
        try:
            sealed[kept] = keys.seal(keys.open(kept.value, kept.place), kept.place)
        except CannotOpen:
            unreadable[kept.name] += 1
    return sealed, unreadable


def _old(database: Database, batch: Sequence[UUID | None]) -> list[Kept]:
    """What is not under the newest key in these schemas, in two reads."""
    schemas = {_schema(tenant_id): tenant_id for tenant_id in batch}
    with public(database=database) as session:
        looks = [_OLD.format(**each) for each in _there(session, list(schemas))]
        if not looks:
            return []
        statement, mark = " UNION ALL ".join(looks), {"mark": at_rest.current().mark}
        rows = session.connection().exec_driver_sql(statement, mark).all()
    return [
        Kept(schemas[where], table, column, id, bytes(value))
        for where, table, column, id, value in rows
    ]


def _there(session: Session, schemas: Sequence[str]) -> list[dict[str, str]]:
    """The encrypted columns that these schemas have."""
    every = {*ENCRYPTED, *PLATFORMS}
    tables, columns = sorted({each[0] for each in every}), sorted({each[1] for each in every})
    wanted = {"schemas": schemas, "tables": tables, "columns": columns}
    return [
        {
            "schema": where,
            "table": table,
            "column": column,
            "value": quoted(column),
            "source": quoted(where, table),
        }
        for where, table, column in session.execute(_THERE, wanted)
        if (table, column) in (PLATFORMS if where == _schema(None) else ENCRYPTED)
    ]


def _change(database: Database, sealed: Mapping[Kept, bytes]) -> None:
    """Write the new values, a transaction for each tenant; what is missed is looked at again."""
    with database.connection() as connection:
        for _, group in groupby(sealed.items(), key=lambda item: _schema(item[0].tenant)):
            updates = ";".join(_update(kept, new) for kept, new in group)
            with suppress(*_MISSED):
                db.run_string(connection, updates)


def _update(kept: Kept, new: bytes) -> str:
    """Nothing happens to a value that has become another meanwhile."""
    return _CHANGE.format(
        source=quoted(_schema(kept.tenant), kept.table),
        value=quoted(kept.column),
        id=kept.id,
        new=new.hex(),
        old=kept.value.hex(),
    )


def _schema(tenant_id: UUID | None) -> str:
    return "public" if tenant_id is None else schema.name(tenant_id)
