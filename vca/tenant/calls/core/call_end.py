"""Actions that follow the end of a call, in the transaction that stores it."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from vca.observability import metrics
from vca.tenant.calls.core import analysis_state, metering, retention, watchdog
from vca.tenant.calls.core.analysis_state import AnalysisState
from vca.tenant.calls.core.models import Call, Turn
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.recordings import service as recordings


def run_end_actions(
    session: Session, call: Call, state: LifecycleState, turns: Sequence[Turn]
) -> AnalysisState:
    """Stop the watchdog, schedule recording, retention and analysis, and meter the call.

    Returns the state of the analysis, for the caller to store.
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
        retention.schedule_purge(session, ended_at=state.ended_at)
        if call.simulated:
            retention.schedule_simulation_purge(session, ended_at=state.ended_at)
    metering.meter_ended_call(session, call, state, turns)
    metrics.CALLS_ENDED.inc(
        end_reason=state.end_reason, carrier=call.provider_type, simulated=call.simulated
    )
    return analysis_state.schedule_analysis(session, call, state)
