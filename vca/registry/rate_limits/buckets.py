"""The buckets as the database keeps them: drawn from by its clock, under a lock of the row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from vca.kit import db

_ACQUIRE = """
SELECT granted, remaining FROM public.draw_tokens(
    %(ids)s::uuid[], %(rates)s::double precision[], %(bursts)s::integer[], %(wanted)s::integer[]
)
"""
# Rows that somebody draws from at this moment are passed over: neither waits for the other.
_DELETE_FULL = """
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
    bucket_id: UUID
    rate_per_s: float
    burst: int
    unit: str = "requests"

    @property
    def window_s(self) -> int:
        """How long it takes to fill."""
        return round(self.burst / self.rate_per_s)


class TokenGrant(NamedTuple):
    """What a draw was given, and what is left in the bucket."""

    granted: int
    remaining: float


def acquire(connection: Connection, requests: Sequence[tuple[Limit, int]]) -> list[TokenGrant]:
    """Draw up to so many tokens from each bucket, in one autocommitted statement.

    Buckets are always to be named in the same order, or two who draw wait for each other.
    """
    limits = [limit for limit, _ in requests]
    parameters = {
        "ids": _array_literal(limit.bucket_id.hex for limit in limits),
        "rates": _array_literal(limit.rate_per_s for limit in limits),
        "bursts": _array_literal(limit.burst for limit in limits),
        "wanted": _array_literal(count for _, count in requests),
    }
    row = db.fetch_one(connection, _ACQUIRE, parameters)
    assert row is not None
    return [TokenGrant(*each) for each in zip(*row, strict=True)]


def delete_full(connection: Connection) -> int:
    """Delete the buckets that are full, which say nothing; how many."""
    row = db.fetch_one(connection, _DELETE_FULL, {})
    assert row is not None
    return int(row[0])


def _array_literal(values: Iterable[object]) -> str:
    """As Postgres writes it: the driver takes three times as long for a list."""
    return f"{{{','.join(map(str, values))}}}"
