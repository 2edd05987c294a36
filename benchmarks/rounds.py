"""One round of load on a served app, and what it took."""

from collections.abc import Callable

from benchmarks import world
from benchmarks.load import Order, Outcome
from benchmarks.postgres import Postgres
from benchmarks.report import Round
from benchmarks.web import Web


def run(
    served: Web, postgres: Postgres, generate: Callable[[Order], Outcome], order: Order
) -> Round:
    """CPU time is that of the app's processes and of the whole Postgres cluster."""
    world.note_use(postgres)
    app_s, postgres_s = served.cpu_s(), postgres.cpu_s()
    outcome = generate(order)
    app_s, postgres_s = served.cpu_s() - app_s, postgres.cpu_s() - postgres_s
    return Round(
        app_ms=app_s * 1000 / outcome.answered,
        postgres_ms=postgres_s * 1000 / outcome.answered,
        requests_per_s=outcome.answered / outcome.elapsed_s,
        p50_ms=outcome.percentile_ms(0.50),
        p99_ms=outcome.percentile_ms(0.99),
        requests=outcome.answered,
        errors=outcome.errors,
    )
