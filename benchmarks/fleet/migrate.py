"""A column and an index for every tenant: `flask tenants migrate`'s engine, against raw SQL."""

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

from benchmarks.fleet import raw
from benchmarks.fleet.report import Figure
from benchmarks.postgres import Postgres
from vca.kit import db
from vca.kit.db import Database
from vca.registry.tenants import fleet
from vca.tenancy import schema
from vca.tenancy.fleet import Options

_LIMIT = 1.5
_PATIENCE_S = 600
_REVISION = '''"""A column and an index."""

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
_RAW = """
BEGIN;
SET LOCAL search_path TO "{schema}";
{ddl}
UPDATE public.tenants SET schema_revision = '{revision}' WHERE id = '{tenant}';
COMMIT
"""
_ALL = "SELECT id FROM public.tenants ORDER BY md5(id::text)"
_ADDED = r"""
SELECT c.relnamespace::regnamespace::text, string_agg(a.attname, ' ')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relname = 'phone_numbers' AND a.attname LIKE 'bench\_%' AND NOT a.attisdropped
GROUP BY 1
"""
_AT = "UPDATE public.tenants SET schema_revision = %s"
# In slices and in turns, so that whatever else the machine does meets both alike: what is compared
# is each slice with the one beside it. A slice is large enough that a run's own start (to connect,
# to compile the revision: some 20 ms) is not what is measured; it is told by `idle`.
_SLICES = 12
_SHARE, _LARGEST = 4, 250
_columns = count()


class NotMigrated(RuntimeError):
    """The product left tenants behind."""


@dataclass
class _Slice:
    """The milliseconds that each tenant of a slice took, in both ways."""

    product_ms: float
    raw_ms: float


def measure(postgres: Postgres, tenants: int) -> list[Figure]:
    """With one worker and with four; every turn has a revision of its own."""
    ids = [UUID(str(row[0])) for row in postgres.run(_ALL)]
    size = min(_LARGEST, len(ids) // _SHARE)
    figures = []
    for workers in (1, 4):
        slices = [_slice(postgres, ids, size, number, workers) for number in range(_SLICES)]
        figures.append(_figure(slices, workers, tenants))
    _undo(postgres)
    return figures


def _undo(postgres: Postgres) -> None:
    """Take the columns away again: what is measured next is the product's own schema."""
    with raw.plainly(), raw.cursor(postgres.dsn) as cursor:
        cursor.execute(_ADDED)
        for where, columns in cursor.fetchall():
            drops = ", ".join(f"DROP COLUMN {column}" for column in columns.split())
            cursor.execute(f'ALTER TABLE "{where}".phone_numbers {drops}')
    postgres.settle()


def _slice(postgres: Postgres, ids: list[UUID], size: int, number: int, workers: int) -> _Slice:
    """One part of the tenants by the product, another by hand; who is first changes."""
    first = (2 * number * size) % max(1, len(ids) - 2 * size)
    parts = {"product": ids[first : first + size], "raw": ids[first + size : first + 2 * size]}
    each_ms = {}
    for way in ("product", "raw") if number % 2 else ("raw", "product"):
        each_ms[way] = _timed_ms(postgres, way, workers, parts[way])
    return _Slice(each_ms["product"], each_ms["raw"])


def _timed_ms(postgres: Postgres, way: str, workers: int, part: list[UUID]) -> float:
    with _revision() as (before, number, ddl):
        postgres.run(_AT, (number,))
        postgres.run(f"{_AT} WHERE id = ANY(%s::uuid[])", (before, [str(one) for one in part]))
        began = perf_counter()
        if way == "product":
            _by_product(postgres, workers, len(part))
        else:
            _by_hand(postgres, workers, part, number, ddl)
        took_s = perf_counter() - began
        postgres.run(_AT, (before,))
    return took_s / len(part) * 1000


def _figure(slices: list[_Slice], workers: int, tenants: int) -> Figure:
    ratios = [one.product_ms / one.raw_ms for one in slices]
    plural = "worker" if workers == 1 else "workers"
    return Figure(
        f"migrate by a column and an index, {workers} {plural}, beside raw SQL",
        tenants,
        f"{median(one.product_ms for one in slices):.2f} ms each",
        f"{median(one.raw_ms for one in slices):.2f} ms each",
        median(ratios),
        _LIMIT,
        spread=f"({min(ratios):.2f}–{max(ratios):.2f})",
    )


@contextmanager
def _revision() -> Iterator[tuple[str, str, str]]:
    """A revision more than the product has: the one before, its number, and its DDL."""
    folders, before = schema.folders(), schema.head()
    with tempfile.TemporaryDirectory() as name:
        number = f"{int(before) + 1:04}"
        ddl = _DDL.format(number=next(_columns))
        text = _REVISION.format(number=number, before=before, ddl=ddl)
        (Path(name) / f"{number}_bench.py").write_text(text)
        schema.read_from(*folders, Path(name))
        try:
            yield before, number, ddl
        finally:
            schema.read_from(*folders)


def _by_product(postgres: Postgres, workers: int, expected: int) -> None:
    database = Database(postgres.dsn, pool_size=2 * workers)
    with db.patience(_PATIENCE_S):
        outcome, _ = fleet.migrate(database, options=Options(workers=workers))
    database.close()
    if outcome.migrated != expected or outcome.left:
        raise NotMigrated(f"{outcome.migrated} of {expected} migrated, {outcome.failed}")


def _by_hand(postgres: Postgres, workers: int, ids: list[UUID], number: str, ddl: str) -> None:
    left = [
        _RAW.format(schema=schema.name(one), ddl=ddl, revision=number, tenant=one) for one in ids
    ]

    def work() -> None:
        with raw.cursor(postgres.dsn) as cursor:
            while left:
                try:
                    statement = left.pop()
                except IndexError:
                    return
                cursor.execute(statement)

    with raw.plainly():
        threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
