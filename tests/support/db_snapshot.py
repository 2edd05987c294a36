"""What is in the database, seen by nobody's session: checksums, and marks of every write."""

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
# Using a key is not a change of its tenant.
_UNTRACKED = "last_used_at"


# By what they are for and the tenant's id.
Statements = dict[tuple[str, str], str]


class SnapshotChecker:
    """A connection of its own, beside the application's pool.

    `statements` are shared by who looks at copies of one database, in which no table is made.
    """

    def __init__(self, url: str, *, statements: Statements | None = None) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._statements: Statements = {} if statements is None else statements
        # Asked after every request of a table of thousands, and so without the wait of ours and
        # without a cursor.
        self._transaction_connection = psycopg.connect(url, autocommit=True)
        self._transaction_connection.pgconn.prepare(b"next", _NEXT_TRANSACTION)

    def close(self) -> None:
        self._connection.close()
        self._transaction_connection.close()

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def checksum(self, tenant_id: str, *, except_table: str = "") -> dict[str, str | None]:
        """MD5 by table over every row of the tenant's schema, and of its own in `public`.

        `but` is a table that may change.
        """
        checksums = dict(
            self.rows(self._cached_statement("checksum", tenant_id, self._checksum_sql))
        )
        return {table: digest for table, digest in checksums.items() if table != except_table}

    def next_transaction(self) -> int:
        """The number that the server's next writing transaction gets, whoever's it is."""
        result = self._transaction_connection.pgconn.exec_prepared(b"next", None)
        return int(result.get_value(0, 0))

    def write_markers(self, tenant_id: str) -> list[tuple[Any, ...]]:
        """The rows and the newest writing transaction of every table; any committed write shows."""
        return self.rows(self._cached_statement("marks", tenant_id, self._write_markers_sql))

    def tables(self, tenant_id: str) -> list[str]:
        """The tables of the tenant's schema."""
        return [row[0] for row in self.rows(_TABLES, schema_of(tenant_id))]

    def texts(self, tenant_id: str) -> dict[tuple[str, str], list[str]]:
        """Every text of the tenant's schema, by table and column."""
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
        """Statements follow from the catalogue, which is not asked again."""
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
        """A key's row is written when it is used, so for keys only the revoked are counted."""
        if table == "public.api_keys":
            return "count(t.revoked_at)"
        return "max(t.xmin::text::bigint)"

    def _sources(self, tenant_id: str) -> Sequence[tuple[str, str, str]]:
        """(label, table, condition) of all that is the tenant's."""
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
