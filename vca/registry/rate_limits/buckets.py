"""The buckets as the database keeps them: drawn from by its clock, under a lock of the row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from vca.kit import db

_DRAW = """
SELECT granted, remaining FROM public.draw_tokens(
    %(ids)s::uuid[], %(rates)s::double precision[], %(bursts)s::integer[], %(wanted)s::integer[]
)
"""
# Rows that somebody draws from at this moment are passed over: neither waits for the other.
_SWEEP = """
WITH full_ones AS (
    DELETE FROM public.rate_buckets WHERE id IN (
        SELECT id FROM public.rate_buckets WHERE full_at < now() FOR UPDATE SKIP LOCKED
    )
    RETURNING id
)
SELECT count(*) FROM full_ones
"""


@dataclass(frozen=True)
class Limit:
    """A bucket: it holds `burst` tokens, one for each of `counts`, and gains `rate` a second.

    `name` is what clients are told.
    """

    name: str
    bucket: UUID
    rate: float
    burst: int
    counts: str = "requests"

    @property
    def window_s(self) -> int:
        """How long it takes to fill."""
        return round(self.burst / self.rate)


class Drawn(NamedTuple):
    """What a draw was given, and what is left in the bucket."""

    granted: int
    remaining: float


def draw(connection: Connection, wishes: Sequence[tuple[Limit, int]]) -> list[Drawn]:
    """Draw up to so many tokens from each bucket, in one autocommitted statement.

    Buckets are always to be named in the same order, or two who draw wait for each other.
    """
    limits = [limit for limit, _ in wishes]
    given = {
        "ids": _array(limit.bucket.hex for limit in limits),
        "rates": _array(limit.rate for limit in limits),
        "bursts": _array(limit.burst for limit in limits),
        "wanted": _array(wanted for _, wanted in wishes),
    }
    row = db.run_one(connection, _DRAW, given)
    assert row is not None
    return [Drawn(*each) for each in zip(*row, strict=True)]


def sweep(connection: Connection) -> int:
    """Delete the buckets that are full, which say nothing; how many."""
    row = db.run_one(connection, _SWEEP, {})
    assert row is not None
    return int(row[0])


def _array(values: Iterable[object]) -> str:
    """As Postgres writes it: the driver takes three times as long for a list."""
    return f"{{{','.join(map(str, values))}}}"
