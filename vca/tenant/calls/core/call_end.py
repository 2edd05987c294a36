"""Actions that follow the end of a call, in the transaction that stores it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from vca.observability import metrics
from vca.services import Services
from vca.tenant.calls.core import analysis_state, latency, metering, retention, watchdog
from vca.tenant.calls.core.analysis_state import AnalysisState
from vca.tenant.calls.core.call_types import StoredCall
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.recordings import service as recordings


@dataclass(frozen=True)
class EndResult:
    """What the end of a call adds to its record: a summary of its latencies and its analysis."""

    latency: Mapping[str, Any] | None = None
    analysis: AnalysisState | None = None


NO_RESULT = EndResult()


def run_end_actions(
    session: Session, call: StoredCall, state: LifecycleState, *, services: Services
) -> EndResult:
    """Stop the watchdog, schedule recording, retention and analysis, and meter the call.

    Returns what the caller has to store.
    """
    watchdog.stop_watch(session, call_id=call.id)
    if call.recording_status == "recording" and call.provider_call_id is not None:
        recordings.create_pending(
            session,
            call_id=call.id,
            kind="call",
            provider_type=call.provider_type,
            provider_call_id=call.provider_call_id,
            telephony_account_id=call.telephony_account_id,
        )
    if state.ended_at is not None:
        retention.schedule_purge(session, call.retention_days, ended_at=state.ended_at)
        if call.simulated:
            retention.schedule_simulation_purge(session, ended_at=state.ended_at)
    metering.meter_ended_call(session, call, state)
    metrics.CALLS_ENDED.inc(
        end_reason=state.end_reason, carrier=call.provider_type, simulated=call.simulated
    )
    return EndResult(
        latency.summarise_latency(call.latencies),
        analysis_state.schedule_analysis(session, call, state, services=services),
    )
