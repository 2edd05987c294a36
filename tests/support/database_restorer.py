"""Notice every write to a database, and restore the rows that it had.

A table of generated requests shares one populated database. Restoring the rows that a request has
changed takes milliseconds; a fresh copy of the database takes a hundred times as long.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

_COPY_SCHEMA = "populated_copy"
# The tables of every tenant schema and of the schemas that all tenants share.
_TABLES = """
SELECT c.oid, n.nspname, c.relname,
    ARRAY(SELECT attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
          AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum),
    ARRAY(SELECT f.confrelid FROM pg_constraint f
          WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (n.nspname IN ('public', 'jobs') OR n.nspname LIKE 't\\_%')
ORDER BY n.nspname, c.relname
"""
_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\\_%'"
# Prefetched tokens, not rows of a tenant: any request may take some.
_IGNORED_TABLES = ("public.rate_buckets",)
# A request updates the time at which its key was last used, at most every ten minutes.
_UNTRACKED_COLUMNS = {"public.api_keys": "last_used_at"}
_NEXT_TRANSACTION = b"SELECT pg_snapshot_xmax(pg_current_snapshot())"


@dataclass(frozen=True)
class _Table:
    oid: int
    schema: str
    name: str
    columns: Sequence[str]
    parents: Sequence[int]

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def copy_identifier(self) -> sql.Identifier:
        return sql.Identifier(_COPY_SCHEMA, self.label)


@dataclass(frozen=True)
class Change:
    """A table with other rows than the populated database. `is_insert`: rows were only added."""

    table: str
    is_insert: bool


class DatabaseRestorer:
    """Compares the database with the rows that it had at construction, and restores them.

    It needs the owner's URL, and uses connections of its own.
    """

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._tables = {
            table.label: table
            for table in self._ordered_tables()
            if table.label not in _IGNORED_TABLES
        }
        self._schemas = self._tenant_schemas()
        self._copy_tables()
        # psycopg deallocates all prepared statements of a connection that drops a schema.
        self._reader = psycopg.connect(url, autocommit=True)
        self._reader.pgconn.prepare(b"next", _NEXT_TRANSACTION)
        changes_sql = " UNION ALL ".join(map(self._changes_sql, self._tables.values()))
        self._reader.pgconn.prepare(b"changes", changes_sql.encode())
        self._next_transaction = self._read_next_transaction()

    def close(self) -> None:
        self._connection.close()
        self._reader.close()

    def changes(self) -> list[Change]:
        """Return the tables whose rows are not those of the populated database."""
        next_transaction = self._read_next_transaction()
        if next_transaction == self._next_transaction:
            return []
        result = self._execute_prepared(b"changes", [str(self._next_transaction).encode()])
        changes = [
            Change((result.get_value(index, 0) or b"").decode(), result.get_value(index, 1) == b"t")
            for index in range(result.ntuples)
        ]
        if not changes:  # another database of the server was written to
            self._next_transaction = next_transaction
        return changes

    def restore(self, changes: Collection[Change]) -> None:
        """Restore the rows of these tables, and drop the schemas of new tenants."""
        if not changes:
            return
        labels = {change.table for change in changes}
        rewritten = self._with_dependents(
            {change.table for change in changes if not change.is_insert}
        )
        with self._connection.transaction():
            for label in reversed(self._tables):
                if label in rewritten:
                    self._delete(self._tables[label], only_new=False)
                elif label in labels:
                    self._delete(self._tables[label], only_new=True)
            for label in self._tables:
                if label in rewritten:
                    self._insert_copy(self._tables[label])
            if "public.tenants" in labels:
                self._drop_new_schemas()
        self._next_transaction = self._read_next_transaction()

    def _read_next_transaction(self) -> int:
        """Return the id of the server's next writing transaction."""
        result = self._execute_prepared(b"next", None)
        return int(result.get_value(0, 0) or 0)

    def _execute_prepared(self, name: bytes, parameters: list[bytes] | None) -> PGresult:
        """Execute a prepared statement without the overhead of a cursor."""
        result = self._reader.pgconn.exec_prepared(name, parameters)
        if result.status != ExecStatus.TUPLES_OK:
            raise psycopg.OperationalError(result.error_message.decode())
        return result

    def _changes_sql(self, table: _Table) -> str:
        """Return SQL that returns a row if the table has changed since the last restore.

        The parameter is the first transaction after that.
        """
        source = table.identifier.as_string(self._connection)
        if table.label in _UNTRACKED_COLUMNS:
            row = f"(to_jsonb(t) - '{_UNTRACKED_COLUMNS[table.label]}')::text"
            digest_sql = f"md5(string_agg({row}, '|' ORDER BY {row}))"
            digest = self._fetch_value(f"SELECT {digest_sql} FROM {source} t")
            return (
                f"SELECT '{table.label}', false FROM {source} t HAVING {digest_sql} <> '{digest}'"
            )
        count = self._fetch_value(f"SELECT count(*) FROM {source}")
        new_count = "count(*) FILTER (WHERE xmin::text::bigint >= $1::bigint)"
        return (
            f"SELECT '{table.label}', count(*) - {new_count} = {count} FROM {source}"
            f" HAVING {new_count} > 0 OR count(*) <> {count}"
        )

    def _fetch_value(self, query: str) -> object:
        row = self._connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def _ordered_tables(self) -> list[_Table]:
        """Return the tables; none refers to a later one."""
        tables = {row[0]: _Table(*row) for row in self._connection.execute(_TABLES)}
        order = TopologicalSorter({oid: table.parents for oid, table in tables.items()})
        return [tables[oid] for oid in order.static_order() if oid in tables]

    def _tenant_schemas(self) -> set[str]:
        return {row[0] for row in self._connection.execute(_SCHEMAS)}

    def _copy_tables(self) -> None:
        self._execute("CREATE SCHEMA {}", sql.Identifier(_COPY_SCHEMA))
        for table in self._tables.values():
            self._execute(
                "CREATE TABLE {} AS SELECT * FROM {}", table.copy_identifier, table.identifier
            )

    def _with_dependents(self, labels: set[str]) -> set[str]:
        """Return these tables and all that refer to them, whose rows must be deleted first."""
        oids = {self._tables[label].oid for label in labels}
        for table in self._tables.values():
            if oids & set(table.parents):
                oids.add(table.oid)
        return {label for label, table in self._tables.items() if table.oid in oids}

    def _delete(self, table: _Table, *, only_new: bool) -> None:
        condition = f"xmin::text::bigint >= {self._next_transaction}" if only_new else "true"
        self._execute(f"DELETE FROM {{}} WHERE {condition}", table.identifier)

    def _insert_copy(self, table: _Table) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        self._execute(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}",
            table.identifier,
            columns,
            columns,
            table.copy_identifier,
        )

    def _drop_new_schemas(self) -> None:
        for schema in self._tenant_schemas() - self._schemas:
            self._execute("DROP SCHEMA {} CASCADE", sql.Identifier(schema))

    def _execute(self, statement: str, *parts: sql.Composable) -> None:
        self._connection.execute(sql.SQL(statement).format(*parts))
