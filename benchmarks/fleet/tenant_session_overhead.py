"""What entering a tenant adds to a bare transaction, in the server and on the connection."""

from time import perf_counter
from typing import Any

from benchmarks.apps import by_hand_sql
from benchmarks.fleet import raw_psycopg2
from benchmarks.fleet.report import FleetFigure
from benchmarks.fleet.tenant_population import TenantMember
from benchmarks.postgres import ROLE_PREFIX, BenchmarkDatabase

_MAX_RATIO = 4.0
_BLOCK_COUNT, _TRANSACTIONS_PER_BLOCK = 30, 200


def measure_tenant_session(
    postgres: BenchmarkDatabase, member: TenantMember, tenants: int
) -> FleetFigure:
    """Compare the statement that opens a tenant session with a bare BEGIN, both with COMMIT.

    The statement sets search path, tenant id and role and checks the schema identity. Both are
    warm.
    """
    open_statement = by_hand_sql.open_tenant_sql(str(member.id), member.id.hex, ROLE_PREFIX)
    tenant_us: list[float] = []
    bare_us: list[float] = []
    with (
        raw_psycopg2.without_wait_callback(),
        raw_psycopg2.autocommit_cursor(postgres.web_dsn) as cursor,
    ):
        for statement in (open_statement, "BEGIN"):
            _transaction_us(cursor, statement)
        for _ in range(_BLOCK_COUNT):
            tenant_us.append(_transaction_us(cursor, open_statement))
            bare_us.append(_transaction_us(cursor, "BEGIN"))
    # Minimums: other load on the machine would move both times towards each other.
    min_tenant_us, min_bare_us = min(tenant_us), min(bare_us)
    return FleetFigure(
        "opening a tenant session: path, tenant id, role and identity check, compared with a bare"
        " BEGIN, both with COMMIT",
        tenants,
        f"{min_tenant_us:.0f} µs",
        f"{min_bare_us:.0f} µs",
        min_tenant_us / min_bare_us,
        _MAX_RATIO,
    )


def _transaction_us(cursor: Any, open_statement: str) -> float:
    started_at = perf_counter()
    for _ in range(_TRANSACTIONS_PER_BLOCK):
        cursor.execute(open_statement)
        cursor.execute("COMMIT")
    return (perf_counter() - started_at) / _TRANSACTIONS_PER_BLOCK * 1_000_000
