"""Add a column and an index to every tenant with `flask tenants migrate`'s engine and raw SQL."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import UUID

from benchmarks.fleet import raw_psycopg2
from benchmarks.fleet.report import FleetFigure
from benchmarks.postgres import BenchmarkDatabase
from vca.kit import db
from vca.registry.tenants import revision_store
from vca.tenancy import schema
from vca.tenancy.database import TenantDatabase
from vca.tenancy.migration_runner import MigrationOptions

_MAX_RATIO = 1.5
_STATEMENT_TIMEOUT_S = 600
_REVISION_TEMPLATE = '''"""A column and an index."""

from alembic import op

revision = "{number}"
down_revision = "{before}"


def upgrade() -> None:
    op.execute("""{ddl}""")
'''
_DDL = """
ALTER TABLE phone_numbers ADD COLUMN bench_{number} text;
CREATE INDEX phone_numbers_bench_{number}_idx ON phone_numbers (bench_{number});
"""
_RAW_MIGRATION = """
BEGIN;
SET LOCAL search_path TO "{schema}";
{ddl}
UPDATE public.tenants SET schema_revision = '{revision}' WHERE id = '{tenant}';
COMMIT
"""
_SELECT_TENANT_IDS = "SELECT id FROM public.tenants ORDER BY md5(id::text)"
_SELECT_BENCH_COLUMNS = r"""
SELECT c.relnamespace::regnamespace::text, string_agg(a.attname, ' ')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relname = 'phone_numbers' AND a.attname LIKE 'bench\_%' AND NOT a.attisdropped
GROUP BY 1
"""
_SET_REVISION = "UPDATE public.tenants SET schema_revision = %s"
# Both methods alternate in slices, so that other load on the machine affects both alike: each slice
# is compared with the adjacent one. A slice is large enough to make the start of a run (connecting,
# compiling the revision: some 20 ms) insignificant; `idle_migration` measures the start.
_SLICE_COUNT = 12
_SLICE_DIVISOR, _MAX_SLICE_SIZE = 4, 250
_column_numbers = count()


class MigrationIncomplete(RuntimeError):
    """The product did not migrate every tenant."""


@dataclass
class _Slice:
    """The milliseconds per tenant of a slice, with both methods."""

    product_ms: float
    raw_ms: float


def measure_migration(postgres: BenchmarkDatabase, tenants: int) -> list[FleetFigure]:
    """Measure with one worker and with four; every slice has its own revision."""
    ids = [UUID(str(row[0])) for row in postgres.execute(_SELECT_TENANT_IDS)]
    size = min(_MAX_SLICE_SIZE, len(ids) // _SLICE_DIVISOR)
    figures = []
    for workers in (1, 4):
        slices = [
            _measure_slice(postgres, ids, size, number, workers) for number in range(_SLICE_COUNT)
        ]
        figures.append(_migration_figure(slices, workers, tenants))
    _drop_columns(postgres)
    return figures


def _drop_columns(postgres: BenchmarkDatabase) -> None:
    """Drop the columns again, because the next measurements use the product's own schema."""
    with (
        raw_psycopg2.without_wait_callback(),
        raw_psycopg2.autocommit_cursor(postgres.dsn) as cursor,
    ):
        cursor.execute(_SELECT_BENCH_COLUMNS)
        for schema_name, columns in cursor.fetchall():
            drops = ", ".join(f"DROP COLUMN {column}" for column in columns.split())
            cursor.execute(f'ALTER TABLE "{schema_name}".phone_numbers {drops}')
    postgres.analyze_tables()


def _measure_slice(
    postgres: BenchmarkDatabase, ids: list[UUID], size: int, number: int, workers: int
) -> _Slice:
    """Migrate one part of the tenants with the product and another by hand, alternating."""
    first = (2 * number * size) % max(1, len(ids) - 2 * size)
    parts = {"product": ids[first : first + size], "raw": ids[first + size : first + 2 * size]}
    each_ms = {}
    for method in ("product", "raw") if number % 2 else ("raw", "product"):
        each_ms[method] = _time_per_tenant_ms(postgres, method, workers, parts[method])
    return _Slice(each_ms["product"], each_ms["raw"])


def _time_per_tenant_ms(
    postgres: BenchmarkDatabase, method: str, workers: int, tenant_ids: list[UUID]
) -> float:
    with _temporary_revision() as (previous, number, ddl):
        postgres.execute(_SET_REVISION, (number,))
        postgres.execute(
            f"{_SET_REVISION} WHERE id = ANY(%s::uuid[])",
            (previous, [str(tenant_id) for tenant_id in tenant_ids]),
        )
        started_at = perf_counter()
        if method == "product":
            _migrate_by_product(postgres, workers, len(tenant_ids))
        else:
            _migrate_by_hand(postgres, workers, tenant_ids, number, ddl)
        duration_s = perf_counter() - started_at
        postgres.execute(_SET_REVISION, (previous,))
    return duration_s / len(tenant_ids) * 1000


def _migration_figure(slices: list[_Slice], workers: int, tenants: int) -> FleetFigure:
    ratios = [measured.product_ms / measured.raw_ms for measured in slices]
    plural = "worker" if workers == 1 else "workers"
    return FleetFigure(
        f"migrate by a column and an index, {workers} {plural}, compared with raw SQL",
        tenants,
        f"{median(measured.product_ms for measured in slices):.2f} ms each",
        f"{median(measured.raw_ms for measured in slices):.2f} ms each",
        median(ratios),
        _MAX_RATIO,
        spread=f"({min(ratios):.2f}–{max(ratios):.2f})",
    )


@contextmanager
def _temporary_revision() -> Iterator[tuple[str, str, str]]:
    """Add a revision to the product's; yield the revision before it, its number and its DDL."""
    folders, previous = schema.migration_folders(), schema.head()
    with tempfile.TemporaryDirectory() as folder:
        number = f"{int(previous) + 1:04}"
        ddl = _DDL.format(number=next(_column_numbers))
        text = _REVISION_TEMPLATE.format(number=number, before=previous, ddl=ddl)
        (Path(folder) / f"{number}_bench.py").write_text(text)
        schema.set_migration_folders(*folders, Path(folder))
        try:
            yield previous, number, ddl
        finally:
            schema.set_migration_folders(*folders)


def _migrate_by_product(postgres: BenchmarkDatabase, workers: int, expected: int) -> None:
    database = TenantDatabase(postgres.dsn, roles=postgres.deployment.roles, pool_size=2 * workers)
    with db.statement_timeout_scope(_STATEMENT_TIMEOUT_S):
        result, _ = revision_store.migrate_tenants(
            database, options=MigrationOptions(workers=workers)
        )
    database.close()
    if result.migrated != expected or result.remaining:
        raise MigrationIncomplete(f"{result.migrated} of {expected} migrated, {result.failed}")


def _migrate_by_hand(
    postgres: BenchmarkDatabase, workers: int, ids: list[UUID], number: str, ddl: str
) -> None:
    statements = [
        _RAW_MIGRATION.format(
            schema=schema.schema_name(tenant_id), ddl=ddl, revision=number, tenant=tenant_id
        )
        for tenant_id in ids
    ]

    def run_statements() -> None:
        with raw_psycopg2.autocommit_cursor(postgres.dsn) as cursor:
            while statements:
                try:
                    statement = statements.pop()
                except IndexError:
                    return
                cursor.execute(statement)

    with raw_psycopg2.without_wait_callback():
        threads = [threading.Thread(target=run_statements, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
