"""Re-encrypt all values that are not encrypted with the newest key, in batches of 100 tenants.

Each encrypted value names its key, so the values themselves show what is left to do. A killed run
is continued by the next one, and several runs at once share the work. A value is changed only if it
is still the one that was read, and is otherwise read again. Other transactions wait at most for the
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

from vca.audit import context
from vca.kit import db
from vca.kit.db import Database
from vca.kit.encryption import DecryptionError, EncryptionContext
from vca.registry.tenants.models import PURGING, Tenant
from vca.registry.webhooks.models import ENCRYPTED_COLUMNS as PLATFORM_COLUMNS
from vca.services import Services
from vca.tenancy import schema
from vca.tenancy.session import public_session
from vca.tenancy.tables import quote_name

BATCH = 100
# A Postgres server process caches every table that it has opened, so connections are replaced.
_TENANTS_PER_CONNECTION = 2_000
# Passes over a batch: rows that were locked or changed concurrently are read again.
_MAX_PASSES = 5
# A locked row, or a tenant that was just purged. The next pass reads it again.
_RETRYABLE_ERRORS = (
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.InvalidSchemaName,
)
# The encrypted columns that exist: schemas of older revisions do not have all of them.
_EXISTING_COLUMNS_SQL = text("""
SELECT n.nspname, c.relname, a.attname
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = ANY(:tables)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY(:columns) AND NOT a.attisdropped
WHERE n.nspname = ANY(:schemas)
""")
_OUTDATED_VALUES_SQL = """
SELECT '{schema}', '{table}', '{column}', id, {value} FROM {source}
WHERE substring({value} FROM 1 FOR octet_length(%(mark)s::bytea)) <> %(mark)s::bytea
"""
_UPDATE_VALUE_SQL = """
UPDATE {source} SET {value} = '\\x{new}' WHERE id = '{id}' AND {value} = '\\x{old}'
"""


@dataclass(frozen=True)
class OutdatedValue:
    """A value that is not encrypted with the newest key; `tenant` None means `public`."""

    tenant: UUID | None
    table: str
    column: str
    id: UUID
    value: bytes

    @property
    def context(self) -> EncryptionContext:
        """The encryption context to which the value is bound."""
        return EncryptionContext(self.tenant, self.table, self.id, self.column)

    @property
    def location(self) -> str:
        """The value's location, human-readable."""
        return f"{self.tenant or 'public'} {self.table}.{self.column}"


class Observer:
    """Receives the progress of a run; this one ignores it."""

    def on_start(self, tenants: int) -> None:
        """Receive the number of tenants to process."""

    def on_progress(self, tenants: int, resealed: int) -> None:
        """Receive the number of tenants done, and of values re-encrypted so far."""


@dataclass
class RotationResult:
    """The result of a run.

    `unreadable` counts the values that none of our keys can decrypt, by `tenant table.column`.
    `left` counts values that were locked or changed in every pass.
    """

    tenants: int = 0
    resealed: int = 0
    left: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)

    @property
    def complete(self) -> bool:
        """Whether no value needs an older key any more."""
        return not self.left and not self.unreadable


def rotate(
    database: Database,
    *,
    services: Services,
    dry_run: bool = False,
    observer: Observer | None = None,
) -> RotationResult:
    """Re-encrypt every value that is not encrypted with the newest key.

    `database` must use the owner's login. Deleted tenants are included, because they may be
    restored. A `dry_run` decrypts the values and changes nothing. Raise DatabaseFailure; what was
    done before stays done.
    """
    progress, outcome = observer or Observer(), RotationResult()
    tenants = _start_run(database, dry_run)
    progress.on_start(len(tenants))
    _rotate_batch(database, [None], outcome, dry_run, services=services)
    batch_size = 1 if services.database.on_citus else BATCH
    for offset in range(0, len(tenants), batch_size):
        batch = tenants[offset : offset + batch_size]
        _rotate_batch(database, batch, outcome, dry_run, services=services)
        outcome.tenants += len(batch)
        progress.on_progress(outcome.tenants, outcome.resealed)
        if outcome.tenants % _TENANTS_PER_CONNECTION < batch_size:
            database.close()
    return outcome


def _start_run(database: Database, dry_run: bool) -> Sequence[UUID]:
    with public_session(database=database) as session:
        if not dry_run:
            context.record_change(session, "deployment", None)
        query = select(Tenant.id).where(Tenant.schema_revision != PURGING)
        return session.scalars(query.order_by(Tenant.created_at, Tenant.id)).all()


def _rotate_batch(
    database: Database,
    batch: Sequence[UUID | None],
    outcome: RotationResult,
    dry_run: bool,
    *,
    services: Services,
) -> None:
    """Process these tenants, or `public` (None), in passes until nothing is left to do."""
    outdated_contexts: set[EncryptionContext] = set()
    for pass_number in range(_MAX_PASSES):
        re_encrypted, unreadable = _re_encrypt_outdated(database, batch, services=services)
        remaining = {outdated.context for outdated in re_encrypted}
        outdated_contexts |= remaining
        if dry_run or not re_encrypted or pass_number == _MAX_PASSES - 1:
            break
        _write_values(database, re_encrypted)
    outcome.unreadable += unreadable
    outcome.left += 0 if dry_run else len(remaining)
    outcome.resealed += len(outdated_contexts) if dry_run else len(outdated_contexts - remaining)


def _re_encrypt_outdated(
    database: Database, batch: Sequence[UUID | None], *, services: Services
) -> tuple[dict[OutdatedValue, bytes], Counter[str]]:
    """Return the re-encrypted outdated values, and the count of unreadable ones by location."""
    keys, re_encrypted, unreadable = services.keyring, {}, Counter[str]()
    for outdated in _read_outdated(database, batch, services=services):
        try:
            re_encrypted[outdated] = keys.encrypt(
                keys.decrypt(outdated.value, outdated.context), outdated.context
            )
        except DecryptionError:
            unreadable[outdated.location] += 1
    return re_encrypted, unreadable


def _read_outdated(
    database: Database, batch: Sequence[UUID | None], *, services: Services
) -> list[OutdatedValue]:
    """Return the outdated values of these schemas, in two queries."""
    schemas = {_schema_name(tenant_id): tenant_id for tenant_id in batch}
    with public_session(database=database) as session:
        queries = [
            _OUTDATED_VALUES_SQL.format(**column_names)
            for column_names in _existing_columns(session, list(schemas), services=services)
        ]
        if not queries:
            return []
        statement, parameters = (
            " UNION ALL ".join(queries),
            {"mark": services.keyring.current_key_prefix},
        )
        rows = session.connection().exec_driver_sql(statement, parameters).all()
    return [
        OutdatedValue(schemas[schema_name], table, column, id, bytes(value))
        for schema_name, table, column, id, value in rows
    ]


def _existing_columns(
    session: Session, schemas: Sequence[str], *, services: Services
) -> list[dict[str, str]]:
    """Return the encrypted columns that these schemas have."""
    tenant_columns = services.lifecycle_hooks.encrypted_columns
    all_columns = {*tenant_columns, *PLATFORM_COLUMNS}
    tables, columns = (
        sorted({pair[0] for pair in all_columns}),
        sorted({pair[1] for pair in all_columns}),
    )
    parameters = {"schemas": schemas, "tables": tables, "columns": columns}
    return [
        {
            "schema": schema_name,
            "table": table,
            "column": column,
            "value": quote_name(column),
            "source": quote_name(schema_name, table),
        }
        for schema_name, table, column in session.execute(_EXISTING_COLUMNS_SQL, parameters)
        if (table, column)
        in (PLATFORM_COLUMNS if schema_name == _schema_name(None) else tenant_columns)
    ]


def _write_values(database: Database, re_encrypted: Mapping[OutdatedValue, bytes]) -> None:
    """Write the new values, one transaction per tenant; the next pass reads what was missed."""
    with database.connection() as connection:
        for _, group in groupby(
            re_encrypted.items(), key=lambda item: _schema_name(item[0].tenant)
        ):
            updates = ";".join(_update_sql(outdated, new_value) for outdated, new_value in group)
            with suppress(*_RETRYABLE_ERRORS):
                db.execute_script(connection, updates)


def _update_sql(outdated: OutdatedValue, new_value: bytes) -> str:
    """Return an update that has no effect if the value has changed in the meantime."""
    return _UPDATE_VALUE_SQL.format(
        source=quote_name(_schema_name(outdated.tenant), outdated.table),
        value=quote_name(outdated.column),
        id=outdated.id,
        new=new_value.hex(),
        old=outdated.value.hex(),
    )


def _schema_name(tenant_id: UUID | None) -> str:
    return "public" if tenant_id is None else schema.schema_name(tenant_id)
