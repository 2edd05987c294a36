"""`GET /metrics`: what all processes have counted, and what the database says now."""

from collections.abc import Iterator

from flask import Response, current_app, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import NotFound

from vca.api.guards import Unauthorized
from vca.kit import crypto, deadline, log, meters, metrics
from vca.kit.db import DatabaseFailure
from vca.kit.metrics import Reading
from vca.kit.web import Blueprint, access
from vca.registry import figures
from vca.registry.figures import Figures
from vca.registry.tenants.models import STATUSES
from vca.tenancy.session import public

# Prometheus gives up after 10 s, and then has nothing at all.
BUDGET_S = 4.0
# The job that watches a live call, as `vca.tenant.calls` calls it.
WATCHING = "calls.check"

blp = Blueprint("metrics", __name__, description="What to watch.")


@blp.route("/metrics", methods=["GET"])
@blp.response(200, {"type": "string"}, content_type="text/plain")
@blp.alt_response(401, description="Another token than METRICS_TOKEN, or none.")
@blp.alt_response(404, description="This deployment has no METRICS_TOKEN.")
@access("anyone")
def show_metrics() -> Response:
    """Show the metrics, for Prometheus

    For `Authorization: Bearer <METRICS_TOKEN>`, which is no API key. No metric names a tenant.
    """
    token: str = current_app.config["METRICS_TOKEN"]
    if not token:
        raise NotFound
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _equal(presented.strip(), token):
        raise Unauthorized
    registry = CollectorRegistry()
    registry.register(_Gauges(_figures()))
    text = meters.exposition() + generate_latest(registry)
    return Response(text, content_type=meters.CONTENT_TYPE)


def _equal(presented: str, token: str) -> bool:
    return crypto.equal(presented.encode(), token.encode())


def _figures() -> Figures | None:
    """What the database says; None while it says nothing, or nothing that this code knows."""
    try:
        with deadline.within(BUDGET_S), public() as session:
            return figures.read(session, watching=WATCHING)
    except (DatabaseFailure, DBAPIError) as error:
        log.get().warning("metrics.database_away", exc_info=error)
        return None


class _Gauges(Collector):
    """The figures as gauges; without figures only that the database is away."""

    def __init__(self, found: Figures | None) -> None:
        self._found = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = self._found
        yield _gauge(metrics.DATABASE_UP, 0 if found is None else 1)
        if found is None:
            return
        yield _gauge(metrics.LIVE_CALLS, found.live_calls)
        yield _gauge(metrics.OLDEST_DUE_JOB_SECONDS, found.oldest_due_job_s)
        yield _gauge(metrics.FAILED_REGISTRATIONS, found.failed_registrations)
        yield _gauge(metrics.TENANTS_BEHIND_HEAD, found.tenants_behind_head)
        tenants = GaugeMetricFamily(
            metrics.TENANTS.name, metrics.TENANTS.help, labels=metrics.TENANTS.labels
        )
        for status in STATUSES:
            tenants.add_metric([status], found.tenants.get(status, 0))
        yield tenants


def _gauge(reading: Reading, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(reading.name, reading.help, value=value)
