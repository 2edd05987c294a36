"""Run one round of load on an app and measure it."""

from collections.abc import Callable

from benchmarks import tenant_data
from benchmarks.load import LoadPlan, LoadResult
from benchmarks.postgres import BenchmarkDatabase
from benchmarks.report import RoundResult
from benchmarks.web import WebServer


def measure_round(
    server: WebServer,
    postgres: BenchmarkDatabase,
    run_load: Callable[[LoadPlan], LoadResult],
    plan: LoadPlan,
) -> RoundResult:
    """Run one round; CPU time is that of the app's processes and of the whole Postgres cluster."""
    tenant_data.mark_keys_used(postgres)
    app_s, postgres_s = server.cpu_s(), postgres.cpu_s()
    result = run_load(plan)
    app_s, postgres_s = server.cpu_s() - app_s, postgres.cpu_s() - postgres_s
    return RoundResult(
        app_ms=app_s * 1000 / result.answered,
        postgres_ms=postgres_s * 1000 / result.answered,
        requests_per_s=result.answered / result.elapsed_s,
        p50_ms=result.percentile_ms(0.50),
        p99_ms=result.percentile_ms(0.99),
        requests=result.answered,
        errors=result.errors,
    )
