"""What entering a tenant adds to a bare transaction, at the server and on the line."""

from time import perf_counter
from typing import Any

from benchmarks.apps import by_hand_sql
from benchmarks.fleet import raw
from benchmarks.fleet.crowd import Member
from benchmarks.fleet.report import Figure
from benchmarks.postgres import ROLE_PREFIX, Postgres

_LIMIT = 4.0
_BLOCKS, _EACH = 30, 200


def measure(postgres: Postgres, member: Member, tenants: int) -> Figure:
    """Path, context, role and fence in one string and COMMIT, beside BEGIN and COMMIT; warm."""
    opening = by_hand_sql.opening(str(member.id), member.id.hex, ROLE_PREFIX)
    guarded: list[float] = []
    bare: list[float] = []
    with raw.plainly(), raw.cursor(postgres.web_dsn) as cursor:
        for statement in (opening, "BEGIN"):
            _block_us(cursor, statement)
        for _ in range(_BLOCKS):
            guarded.append(_block_us(cursor, opening))
            bare.append(_block_us(cursor, "BEGIN"))
    # The least: whatever else the machine does is in neither, and would bring both together.
    ours, beside = min(guarded), min(bare)
    return Figure(
        "the guard: path, context, role and fence beside a bare BEGIN, both with COMMIT",
        tenants,
        f"{ours:.0f} µs",
        f"{beside:.0f} µs",
        ours / beside,
        _LIMIT,
    )


def _block_us(cursor: Any, opening: str) -> float:
    began = perf_counter()
    for _ in range(_EACH):
        cursor.execute(opening)
        cursor.execute("COMMIT")
    return (perf_counter() - began) / _EACH * 1_000_000
