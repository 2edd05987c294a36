"""What follows from the end of a call, in the transaction that writes it."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from vca.kit import jobs, metrics
from vca.tenant.calls import forgetting, metering, watch
from vca.tenant.calls.models import Call, Turn
from vca.tenant.calls.states import State
from vca.tenant.recordings import service as recordings

ANALYSE = "calls.analyse"


def follow(session: Session, call: Call, state: State, said: Sequence[Turn]) -> None:
    """Let nobody watch the call any more, have its audio fetched, have it noted, and count it."""
    watch.end(session, call_id=call.id)
    if call.recording_status == "recording" and call.provider_call_id is not None:
        recordings.expect(
            session,
            call_id=call.id,
            kind="call",
            provider_type=call.provider_type,
            provider_call_id=call.provider_call_id,
            telephony_account_id=call.telephony_account_id,
        )
    if state.ended_at is not None:
        forgetting.order(session, ended_at=state.ended_at)
    if call.ai_profile_id is not None and state.answered_at is not None:
        jobs.enqueue(session, ANALYSE, call_id=call.id)
    metering.ended(session, call, state, said)
    metrics.CALLS_ENDED.inc(
        end_reason=state.end_reason, carrier=call.provider_type, simulated=call.simulated
    )
