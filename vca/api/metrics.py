"""`GET /metrics`: the counters of all processes, and gauges from the database."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flask import Response, current_app, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import NotFound

from vca.api import limits
from vca.api.guards import Unauthorized
from vca.kit import crypto, deadline
from vca.kit.db import DatabaseFailure
from vca.kit.web import Blueprint, access
from vca.observability import log, metrics, prometheus
from vca.observability.metrics import Gauge
from vca.registry import gauges
from vca.registry.gauges import DeploymentGauges
from vca.registry.job_lanes.service import LaneState
from vca.registry.model_checks import service as model_checks
from vca.registry.model_checks.service import ModelState
from vca.registry.tenants.models import STATUSES
from vca.services import current_services
from vca.tenancy.session import public_session
from vca.tenant.calls.core.watchdog import CHECK_JOB
from vca.tenant.messages.email_notifications import MAIL_JOB

# Prometheus gives up after 10 s and then has no metrics at all.
BUDGET_S = 4.0

blp = Blueprint("metrics", __name__, description="Prometheus metrics.")


@blp.route("/metrics", methods=["GET"])
@blp.response(200, {"type": "string"}, content_type="text/plain")
@blp.alt_response(401, description="The token is missing or is not METRICS_TOKEN.")
@blp.alt_response(429, description="The address has sent too many wrong tokens or keys.")
@blp.alt_response(404, description="METRICS_TOKEN is not set for this deployment.")
@access("anyone")
def show_metrics() -> Response:
    """Get Prometheus metrics

    Requires `Authorization: Bearer <METRICS_TOKEN>`, which is not an API key. No metric names a
    tenant.
    """
    token: str = current_app.config["METRICS_TOKEN"]
    if not token:
        raise NotFound
    scheme, _, bearer_token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _tokens_equal(bearer_token.strip(), token):
        limits.record_client_failure()
        raise Unauthorized
    registry = CollectorRegistry()
    registry.register(_GaugeCollector(_read_gauges()))
    text = prometheus.exposition() + generate_latest(registry)
    return Response(text, content_type=prometheus.CONTENT_TYPE)


def _tokens_equal(bearer_token: str, token: str) -> bool:
    return crypto.equal(bearer_token.encode(), token.encode())


@dataclass(frozen=True)
class _Snapshot:
    deployment: DeploymentGauges
    models: list[ModelState]


def _read_gauges() -> _Snapshot | None:
    """Return the gauges from the database.

    None if the database is unavailable, or if its schema does not match this code.
    """
    try:
        with (
            deadline.within(BUDGET_S),
            public_session(database=current_services().database) as session,
        ):
            models = current_services().models
            return _Snapshot(
                gauges.read_gauges(session, watch_job=CHECK_JOB, mail_job=MAIL_JOB),
                model_checks.read_states(session, models),
            )
    except (DatabaseFailure, DBAPIError) as error:
        log.get_logger().warning("metrics.database_away", exc_info=error)
        return None


class _GaugeCollector(Collector):
    """Export the gauges; without a snapshot, only that the database is unavailable."""

    def __init__(self, snapshot: _Snapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge_family(metrics.DATABASE_UP, 0 if self._snapshot is None else 1)
        if self._snapshot is None:
            return
        snapshot = self._snapshot.deployment
        yield _gauge_family(metrics.LIVE_CALLS, snapshot.live_calls)
        yield _gauge_family(metrics.OLDEST_DUE_JOB_SECONDS, snapshot.oldest_due_job_s)
        yield from _lane_families(snapshot.lanes)
        yield _gauge_family(metrics.PENDING_MAILS, snapshot.pending_mails)
        yield _gauge_family(metrics.FAILED_REGISTRATIONS, snapshot.failed_registrations)
        yield _gauge_family(metrics.TENANTS_BEHIND_HEAD, snapshot.tenants_behind_head)
        tenants = GaugeMetricFamily(
            metrics.TENANTS.name, metrics.TENANTS.help, labels=metrics.TENANTS.labels
        )
        for status in STATUSES:
            tenants.add_metric([status], snapshot.tenants.get(status, 0))
        yield tenants
        ready = GaugeMetricFamily(
            metrics.MODEL_READY.name, metrics.MODEL_READY.help, labels=metrics.MODEL_READY.labels
        )
        for state in self._snapshot.models:
            ready.add_metric([state.model], int(state.is_ready))
        yield ready


def _lane_families(lanes: Sequence[LaneState]) -> Iterator[GaugeMetricFamily]:
    values: tuple[tuple[Gauge, Callable[[LaneState], float]], ...] = (
        (metrics.LANE_DUE_JOBS, lambda lane: lane.due),
        (metrics.LANE_RUNNING_JOBS, lambda lane: lane.running),
        (metrics.LANE_OLDEST_DUE_JOB_SECONDS, lambda lane: lane.unserved_s),
    )
    for definition, value_of in values:
        family = GaugeMetricFamily(definition.name, definition.help, labels=definition.labels)
        for lane in lanes:
            family.add_metric([lane.name], value_of(lane))
        yield family


def _gauge_family(definition: Gauge, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(definition.name, definition.help, value=value)
