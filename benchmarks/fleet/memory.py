"""The memory of a server process that serves one tenant after the other."""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from sqlalchemy import text

from benchmarks.fleet.report import FleetFigure
from benchmarks.fleet.tenant_population import TenantMember
from benchmarks.postgres import BenchmarkDatabase
from vca.kit import db
from vca.settings import Settings
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import tenant_session
from vca.tenant.models import metadata

_MAX_MIB = 64
_TENANTS_PER_CONNECTION = Settings.tenants_per_connection
_NO_BOUND = 1_000_000
_SAMPLE_EVERY = 20
_STATEMENT_TIMEOUT_S = 60
_READ_EVERY_TABLE = text("; ".join(f"SELECT * FROM {table} LIMIT 1" for table in metadata.tables))


def measure_memory(
    postgres: BenchmarkDatabase, members: Sequence[TenantMember], ends_at: float
) -> FleetFigure | None:
    """Compare the peak memory with the product's bound with the peak without it.

    Return None if the process's memory may not be read.
    """
    bounded_peak_mib, visited = _peak_mib(postgres, members, _TENANTS_PER_CONNECTION, ends_at)
    if bounded_peak_mib is None:
        return None
    unbounded_ends_at = ends_at - (ends_at - monotonic()) / 2
    unbounded_peak_mib, unbounded_visited = _peak_mib(
        postgres, members, _NO_BOUND, unbounded_ends_at
    )
    return FleetFigure(
        f"a server process's own memory, at most {_TENANTS_PER_CONNECTION} tenants on a connection,"
        " compared with no bound; every table of each tenant is read",
        visited,
        f"{bounded_peak_mib:.0f} MiB",
        f"{unbounded_peak_mib:.0f} MiB after {unbounded_visited} tenants",
        bounded_peak_mib,
        _MAX_MIB,
        unit="MiB",
    )


def _peak_mib(
    postgres: BenchmarkDatabase, members: Sequence[TenantMember], bound: int, ends_at: float
) -> tuple[float | None, int]:
    """Return the peak size of the pool's backends and the number of visited tenants.

    The size is None if it may not be read.
    """
    database = TenantDatabase(
        postgres.web_dsn,
        roles=postgres.deployment.roles,
        pool_size=1,
        tenants_per_connection=bound,
        tenant_tables=metadata.tables,
    )
    peak_mib, visited = 0.0, 0
    with db.statement_timeout_scope(_STATEMENT_TIMEOUT_S):
        for member in members:
            if monotonic() > ends_at:
                break
            with tenant_session(member.ref, database=database) as session:
                connection = session.connection()
                session.execute(_READ_EVERY_TABLE)
                visited += 1
                if visited % _SAMPLE_EVERY == 0 or visited == len(members):
                    memory_mib = _anonymous_mib(_backend_pid(connection.connection))
                    if memory_mib is None:
                        return None, visited
                    peak_mib = max(peak_mib, memory_mib)
    database.close()
    return peak_mib, visited


def _backend_pid(pooled: object) -> int:
    pid: int = pooled.dbapi_connection.get_backend_pid()  # type: ignore[attr-defined]
    return pid


def _anonymous_mib(pid: int) -> float | None:
    """Return the process's proportional anonymous memory, or None if it may not be read.

    The shared buffers are not part of it.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss_Anon:"))
