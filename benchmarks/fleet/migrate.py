"""A column and an index for every tenant: `flask tenants migrate`'s engine, against raw SQL."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
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
_AT = "UPDATE public.tenants SET schema_revision = %s"
# There and back, so that a drift hits all alike.
_TURNS = [("product", 1), ("raw", 1), ("product", 4), ("raw", 4)]
_TURNS += _TURNS[::-1]
# A large fleet is shared out among the turns: what a run costs once is little beside it.
_LARGE = 2_000
_columns = count()


class NotMigrated(RuntimeError):
    """The product left tenants behind."""


def measure(postgres: Postgres, tenants: int) -> list[Figure]:
    """With one worker and with four; every turn has a revision of its own."""
    ids = [UUID(str(row[0])) for row in postgres.run(_ALL)]
    spent = dict.fromkeys(_TURNS, 0.0)
    done = dict.fromkeys(_TURNS, 0)
    for turn, (way, workers) in enumerate(_TURNS):
        part = ids[turn :: len(_TURNS)] if len(ids) > _LARGE else ids
        with _revision() as (before, number, ddl):
            postgres.run(_AT, (number,))
            postgres.run(f"{_AT} WHERE id = ANY(%s::uuid[])", (before, [str(one) for one in part]))
            began = perf_counter()
            if way == "product":
                _by_product(postgres, workers, len(part))
            else:
                _by_hand(postgres, workers, part, number, ddl)
            spent[way, workers] += perf_counter() - began
            done[way, workers] += len(part)
            postgres.run(_AT, (before,))
    each_ms = {turn: spent[turn] / done[turn] * 1000 for turn in spent}
    return [_figure(each_ms, workers, tenants) for workers in (1, 4)]


def _figure(each_ms: dict[tuple[str, int], float], workers: int, tenants: int) -> Figure:
    ours, beside = each_ms["product", workers], each_ms["raw", workers]
    plural = "worker" if workers == 1 else "workers"
    return Figure(
        f"migrate by a column and an index, {workers} {plural}, beside raw SQL",
        tenants,
        f"{ours:.2f} ms each",
        f"{beside:.2f} ms each",
        ours / beside,
        _LIMIT,
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
