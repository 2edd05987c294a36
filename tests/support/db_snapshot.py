"""Read the database outside the application's sessions: checksums, and markers of every write."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
import psycopg2

_TABLES = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = %s AND table_type = 'BASE TABLE' ORDER BY table_name
"""
_TENANT_ID_TABLES = """
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = 'tenant_id' ORDER BY table_name
"""
_TEXTS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = %s AND data_type IN ('text', 'jsonb') ORDER BY table_name, column_name
"""
_NEXT_TRANSACTION = b"SELECT pg_snapshot_xmax(pg_current_snapshot())"
# Using a key does not change its tenant.
_UNTRACKED = "last_used_at"


# SQL by (kind, tenant id).
Statements = dict[tuple[str, str], str]


class SnapshotChecker:
    """Reads over connections of its own, beside the application's pool.

    Checkers of copies of one database may share `statements`, unless a test creates tables.
    """

    def __init__(self, url: str, *, statements: Statements | None = None) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._statements: Statements = {} if statements is None else statements
        # Tests read the next transaction after each of thousands of requests, so this connection
        # avoids psycopg2's wait callback and a cursor.
        self._transaction_connection = psycopg.connect(url, autocommit=True)
        self._transaction_connection.pgconn.prepare(b"next", _NEXT_TRANSACTION)

    def close(self) -> None:
        self._connection.close()
        self._transaction_connection.close()

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def checksum(self, tenant_id: str, *, except_table: str = "") -> dict[str, str | None]:
        """Return the MD5 of all rows by table: the tenant's schema, and its rows in `public`.

        `except_table` is a table that may change.
        """
        checksums = dict(
            self.rows(self._cached_statement("checksum", tenant_id, self._checksum_sql))
        )
        return {table: digest for table, digest in checksums.items() if table != except_table}

    def next_transaction(self) -> int:
        """Return the id that the server's next writing transaction gets."""
        result = self._transaction_connection.pgconn.exec_prepared(b"next", None)
        return int(result.get_value(0, 0) or 0)

    def write_markers(self, tenant_id: str) -> list[tuple[Any, ...]]:
        """Return the number of rows and the newest transaction id of every table.

        Every committed write changes the result.
        """
        return self.rows(self._cached_statement("marks", tenant_id, self._write_markers_sql))

    def tables(self, tenant_id: str) -> list[str]:
        """Return the tables of the tenant's schema."""
        return [row[0] for row in self.rows(_TABLES, schema_of(tenant_id))]

    def texts(self, tenant_id: str) -> dict[tuple[str, str], list[str]]:
        """Return all texts of the tenant's schema by (table, column)."""
        schema = schema_of(tenant_id)
        return {
            (table, column): [
                row[0]
                for row in self.rows(f'SELECT "{column}"::text FROM "{schema}"."{table}"')
                if row[0] is not None
            ]
            for table, column in self.rows(_TEXTS, schema)
        }

    def _cached_statement(self, kind: str, tenant_id: str, build: Any) -> str:
        """Return the SQL from the cache. It depends on the catalogue, which is read once."""
        if (kind, tenant_id) not in self._statements:
            self._statements[kind, tenant_id] = build(tenant_id)
        return self._statements[kind, tenant_id]

    def _checksum_sql(self, tenant_id: str) -> str:
        return " UNION ALL ".join(
            f"SELECT '{label}', md5(string_agg(row, '|' ORDER BY row)) FROM"
            f" (SELECT (to_jsonb(t) - '{_UNTRACKED}')::text AS row FROM {table} t {condition}) rows"
            for label, table, condition in self._sources(tenant_id)
        )

    def _write_markers_sql(self, tenant_id: str) -> str:
        return " UNION ALL ".join(
            f"SELECT '{label}', count(*), {self._write_marker_expression(table)} FROM {table} t"
            for label, table, _ in self._sources(tenant_id)
        )

    def _write_marker_expression(self, table: str) -> str:
        """Return the SQL expression. Using a key updates its row, so only revoked keys count."""
        if table == "public.api_keys":
            return "count(t.revoked_at)"
        return "max(t.xmin::text::bigint)"

    def _sources(self, tenant_id: str) -> Sequence[tuple[str, str, str]]:
        """Return (label, table, condition) of everything that belongs to the tenant."""
        tenant_id = str(UUID(tenant_id))
        schema = schema_of(tenant_id)
        tenant_tables = [(name, f'"{schema}"."{name}"', "") for name in self.tables(tenant_id)]
        public_tables = [
            (f"public.{name}", f"public.{name}", f"WHERE t.tenant_id = '{tenant_id}'")
            for (name,) in self.rows(_TENANT_ID_TABLES)
        ]
        return [
            *tenant_tables,
            *public_tables,
            ("public.tenants", "public.tenants", f"WHERE t.id = '{tenant_id}'"),
            (
                "jobs",
                "jobs.procrastinate_jobs",
                f"WHERE t.args->>'tenant_id' = '{tenant_id}'",
            ),
        ]


def schema_of(tenant_id: str) -> str:
    return f"t_{UUID(tenant_id).hex}"
