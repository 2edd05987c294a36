"""How large a server process grows that visits one tenant after the other."""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from sqlalchemy import text

from benchmarks.fleet.crowd import Member
from benchmarks.fleet.report import Figure
from benchmarks.postgres import Postgres
from vca.kit import db
from vca.kit.config import Settings
from vca.kit.db import Database
from vca.tenancy.session import enter
from vca.tenant.models import metadata

_LIMIT_MIB = 64
_PER_CONNECTION = Settings.tenants_per_connection
_WITHOUT_BOUND = 1_000_000
_LOOK_EVERY = 20
_PATIENCE_S = 60
_EVERY_TABLE = text("; ".join(f"SELECT * FROM {table} LIMIT 1" for table in metadata.tables))


def measure(postgres: Postgres, members: Sequence[Member], ends_at: float) -> Figure | None:
    """The peak with the product's bound, beside the peak without; None if it may not be read."""
    bounded, visited = _peak_mib(postgres, members, _PER_CONNECTION, ends_at)
    if bounded is None:
        return None
    half = ends_at - (ends_at - monotonic()) / 2
    free, visited_too = _peak_mib(postgres, members, _WITHOUT_BOUND, half)
    return Figure(
        f"a server process's own memory, at most {_PER_CONNECTION} tenants on a connection,"
        " beside no bound; every table of each tenant is read",
        visited,
        f"{bounded:.0f} MiB",
        f"{free:.0f} MiB after {visited_too} tenants",
        bounded,
        _LIMIT_MIB,
        unit="MiB",
    )


def _peak_mib(
    postgres: Postgres, members: Sequence[Member], bound: int, ends_at: float
) -> tuple[float | None, int]:
    """The largest that any backend of the pool was, and how many tenants were visited."""
    database = Database(
        postgres.web_dsn,
        pool_size=1,
        tenants_per_connection=bound,
        tenant_tables=metadata.tables,
    )
    peak, visited = 0.0, 0
    with db.patience(_PATIENCE_S):
        for member in members:
            if monotonic() > ends_at:
                break
            with enter(member.ref, database=database) as session:
                connection = session.connection()
                session.execute(_EVERY_TABLE)
                visited += 1
                if visited % _LOOK_EVERY == 0 or visited == len(members):
                    found = _own_mib(_pid(connection.connection))
                    if found is None:
                        return None, visited
                    peak = max(peak, found)
    database.close()
    return peak, visited


def _pid(pooled: object) -> int:
    pid: int = pooled.dbapi_connection.get_backend_pid()  # type: ignore[attr-defined]
    return pid


def _own_mib(pid: int) -> float | None:
    """Anonymous memory in proportion: nothing of the shared buffers. None if it may not be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss_Anon:"))
