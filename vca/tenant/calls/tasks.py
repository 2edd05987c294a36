"""The jobs of calls: dialling, liveness checks, retention and post-call analysis."""

from uuid import UUID

from vca.jobs import lanes, queue
from vca.kit import clock
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.carrier_webhooks import fallback
from vca.tenant.calls.carrier_webhooks.fallback import RENDER_FALLBACKS_JOB
from vca.tenant.calls.control import outbound_calls, reconciliation
from vca.tenant.calls.control.outbound_calls import DIAL_JOB
from vca.tenant.calls.core import retention
from vca.tenant.calls.core.analysis_state import ANALYSE_JOB
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.retention import (
    PURGE_PAYLOADS,
    PURGE_SIMULATIONS,
    PURGE_TRANSCRIPTS,
)
from vca.tenant.calls.core.watchdog import CHECK_JOB
from vca.tenant.calls.turns import post_call_analysis


def _ref(tenant_id: str, call_id: str) -> CallRef:
    return CallRef(TenantRef(UUID(tenant_id)), UUID(call_id))


@queue.task(DIAL_JOB, lane=lanes.CALLS)
def dial(*, services: Services, tenant_id: str, call_id: str) -> None:
    """Place an outbound call at the carrier, exactly once."""
    outbound_calls.dial(_ref(tenant_id, call_id), services=services)


@queue.task(CHECK_JOB, lane=lanes.CALLS)
def check(*, services: Services, tenant_id: str, call_id: str) -> None:
    """Ask the carrier about a call without activity."""
    reconciliation.check_call(_ref(tenant_id, call_id), services=services)


@queue.task(PURGE_TRANSCRIPTS, lane=lanes.BATCH)
def forget(*, services: Services, tenant_id: str) -> None:
    """Delete the transcripts of calls whose retention period has ended."""
    retention.purge_transcripts(TenantRef(UUID(tenant_id)), now=clock.now(), services=services)


@queue.task(PURGE_PAYLOADS, lane=lanes.BATCH)
def forget_payloads(*, services: Services, tenant_id: str) -> None:
    """Delete carriers' event details of calls whose retention period has ended."""
    retention.purge_payloads(TenantRef(UUID(tenant_id)), now=clock.now(), services=services)


@queue.task(PURGE_SIMULATIONS, lane=lanes.BATCH)
def forget_simulated(*, services: Services, tenant_id: str) -> None:
    """Delete simulated calls whose retention period has ended."""
    retention.purge_simulations(TenantRef(UUID(tenant_id)), now=clock.now(), services=services)


@queue.task(ANALYSE_JOB, lane=lanes.DELIVERIES)
def analyse(*, services: Services, tenant_id: str, call_id: str, attempt: int = 1) -> None:
    """Analyse a finished call with a model."""
    post_call_analysis.analyse_call(_ref(tenant_id, call_id), attempt=attempt, services=services)


@queue.task(RENDER_FALLBACKS_JOB, lane=lanes.BATCH)
def render_fallbacks(*, services: Services, tenant_id: str) -> None:
    """Write the static fallback documents of the tenant's numbers again."""
    fallback.update_fallback_documents(UUID(tenant_id), services=services)
