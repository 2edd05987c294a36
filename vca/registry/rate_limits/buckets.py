"""Token buckets in the database; its clock counts, and tokens are acquired under a row lock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from vca.kit import db

_DRAW = """public.draw_tokens(
    %(ids)s::uuid[], %(rates)s::double precision[], %(bursts)s::integer[], %(wanted)s::integer[]
)"""
_ACQUIRE = f"SELECT granted, remaining FROM {_DRAW}"
# The same as one value, for a statement that does more than that: see `api_keys.authenticate`.
SELECT_ACQUIRED = f"SELECT json_build_array(d.granted, d.remaining) FROM {_DRAW} d"
# Rows that another transaction has locked are skipped, so that neither waits for the other.
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
    """A token bucket: it holds `burst` tokens, one per `unit`, and gains `rate_per_s` tokens.

    `name` is shown to clients.
    """

    name: str
    bucket_id: UUID
    rate_per_s: float
    burst: int
    unit: str = "requests"

    @property
    def window_s(self) -> int:
        """The time in seconds that an empty bucket needs to fill."""
        return round(self.burst / self.rate_per_s)


class TokenGrant(NamedTuple):
    """The number of tokens granted, and the tokens that remain in the bucket."""

    granted: int
    remaining: float


TokenRequests = Sequence[tuple[Limit, int]]
"""Buckets, and how many tokens to acquire from each.

Always name the buckets in the same order: otherwise two processes may wait for each other.
"""


def acquire(connection: Connection, requests: TokenRequests) -> list[TokenGrant]:
    """Acquire up to the requested number of tokens from each bucket, in one statement."""
    row = db.fetch_one_prepared(connection, _ACQUIRE, acquire_parameters(requests))
    assert row is not None
    return read_grants(row)


def acquire_parameters(requests: TokenRequests) -> dict[str, str]:
    """Return the parameters of SELECT_ACQUIRED."""
    limits = [limit for limit, _ in requests]
    return {
        "ids": _array_literal(limit.bucket_id.hex for limit in limits),
        "rates": _array_literal(limit.rate_per_s for limit in limits),
        "bursts": _array_literal(limit.burst for limit in limits),
        "wanted": _array_literal(count for _, count in requests),
    }


def read_grants(columns: Sequence[Sequence[Any]]) -> list[TokenGrant]:
    """Return the grants of each bucket from the columns, or the value, that were selected."""
    return [TokenGrant(*values) for values in zip(*columns, strict=True)]


def delete_full(connection: Connection) -> int:
    """Delete full buckets, which need no row; return their number."""
    row = db.fetch_one(connection, _DELETE_FULL, {})
    assert row is not None
    return int(row[0])


def _array_literal(values: Iterable[object]) -> str:
    """Return an array in Postgres's notation: the driver needs three times as long for a list."""
    return f"{{{','.join(map(str, values))}}}"
