"""Replay a finished call with another AI profile, to compare what the agent says.

The stored utterances of the caller are repeated in order in a simulated call of the fake carrier,
which is stored as any other. A replay dials nobody and leaves no message, because staff would call
back twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from vca.conversation.llm.models import Models
from vca.kit import clock, deadline
from vca.kit.errors import Conflict
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.providers import Carriers
from vca.telephony.types import CallEvent, LegOutcome, Listen
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import (
    call_types,
    record,
    simulated_tokens,
    simulations,
    turn_records,
)
from vca.tenant.calls.core.call_types import CallRef, NewCall, TransferOrder, Utterance
from vca.tenant.calls.core.simulations import RequestedProfile, Simulation, TransferOutcome
from vca.tenant.calls.simulation import (
    comparison,
    profile_calls,
    simulation_requests,
)
from vca.tenant.calls.simulation.comparison import CallTranscript, StoppedEarly
from vca.tenant.calls.turns import call_flow, turn_handler

# Time for the database, in addition to the model's own limits. A turn that may not end before the
# deadline is not begun.
_DATABASE_MARGIN_S = 3.0


class CallNotFinished(Conflict):
    """The call has not ended yet."""

    code = "call-not-finished"

    def __init__(self) -> None:
        super().__init__("The call has not ended yet.")


class NothingToReplay(Conflict):
    """No utterances of the caller are stored."""

    code = "nothing-to-replay"

    def __init__(self) -> None:
        super().__init__("No utterances of this call's caller are stored.")


@dataclass(frozen=True)
class _ReplayRequest:
    """A finished call, and the profile version that answers its caller now."""

    original: CallTranscript
    profile: RequestedProfile
    simulation: Simulation

    @property
    def utterances(self) -> list[str]:
        return [turn.text for turn in self.original.turns if turn.speaker == "caller"]


def replay_call(
    tenant: TenantRef,
    *,
    carriers: Carriers,
    services: Services,
    call_id: UUID,
    ai_profile_id: UUID,
    version: int | None = None,
    moment: datetime | None = None,
    variables: Mapping[str, str] | None = None,
    transfer_outcome: TransferOutcome | None = None,
) -> dict[str, Any]:
    """Repeat a finished call's utterances to a profile; return both calls, turn by turn.

    The version defaults to the profile's current one, `moment` to the real time, `variables` to
    those of the call, and the outcome of transfers to `no_answer`. With a deadline, the replay
    stops before a turn that might not end in time, and when the tenant's simulated tokens are used
    up. Raises NotFound, InvalidInput for a profile or version that is not the tenant's,
    CallNotFinished, NothingToReplay and LimitReached.
    """
    with tenant_session(tenant, database=services.database) as session:
        simulated_tokens.require_tokens(session, now=clock.now(), services=services)
        original = _load_transcript(session, call_id)
        profile = simulation_requests.load_profile_version(session, ai_profile_id, version)
    simulation = Simulation(
        simulation_requests.clock_offset(moment),
        profile,
        variables or {},
        transfer_outcome or "no_answer",
        replay_of=call_id,
    )
    request = _ReplayRequest(original, profile, simulation)
    _require_replayable(request)
    ref = _start_replay(tenant, carriers.simulator, request, services=services)
    try:
        stopped_early = _replay_utterances(ref, request, services.models, services=services)
    finally:
        _end_replay(ref, services=services)
    with tenant_session(tenant, database=services.database) as session:
        return comparison.compare_calls(
            original, _load_transcript(session, ref.call_id), stopped_early
        )


def _load_transcript(session: Session, call_id: UUID) -> CallTranscript:
    call = record.get_call(session, call_id)
    return CallTranscript(call, turn_records.load_turns(session, call_id))


def _require_replayable(request: _ReplayRequest) -> None:
    if request.original.call.live:
        raise CallNotFinished
    if not request.utterances:
        raise NothingToReplay


def _start_replay(
    tenant: TenantRef, simulator: TelephonyAdapter, request: _ReplayRequest, *, services: Services
) -> CallRef:
    """Record a simulated call with the same two numbers, and have its caller greeted."""
    call, ref = request.original.call, CallRef(tenant, uuid4())
    route = profile_calls.profile_route(
        request.profile, "the replay was requested with this profile"
    )
    new_call = NewCall(
        phone_number_id=call.phone_number_id,
        ai_profile_id=request.profile.ai_profile_id,
        ai_profile_version=request.profile.version,
        caller_number=call.caller_number,
        caller_id=call.caller_id,
        called_number=call.called_number,
        provider_type=simulator.name,
        provider_call_id=ref.call_id.hex,
        simulated=True,
        route=route.as_dict(),
        direction=call.direction,
        # Without others, the replay's prompt uses the same variables.
        call_metadata={
            **call.call_metadata,
            **request.simulation.variables,
            "replay_of": str(call.id),
        },
        simulation=request.simulation.as_dict(),
    )
    profile_calls.start_call(
        ref, simulator, new_call, request.profile, limited=False, services=services
    )
    return ref


def _replay_utterances(
    ref: CallRef, request: _ReplayRequest, models: Models, *, services: Services
) -> StoppedEarly | None:
    """Repeat all utterances in order; return why it stopped early, or None."""
    utterances = request.utterances
    leg_outcome = simulations.LEG_OUTCOMES[request.simulation.transfer_outcome or "no_answer"]
    for count, utterance in enumerate(utterances, start=1):
        remaining_s = deadline.remaining_s()
        if (
            remaining_s is not None
            and remaining_s < models.latency_policy.whole_s + _DATABASE_MARGIN_S
        ):
            return "out_of_time"
        if not _has_tokens_left(ref, services=services):
            return "out_of_tokens"
        if not _replay_utterance(ref, utterance, models, leg_outcome, services=services):
            return "call_ended" if count < len(utterances) else None
    return None


def _has_tokens_left(ref: CallRef, *, services: Services) -> bool:
    with tenant_session(ref.tenant, database=services.database) as session:
        return simulated_tokens.has_tokens_left(session, now=clock.now(), services=services)


def _replay_utterance(
    ref: CallRef, utterance: str, models: Models, leg_outcome: LegOutcome, *, services: Services
) -> bool:
    """Repeat one utterance; return whether the call goes on. A transfer ends with the outcome."""
    result = call_types.collect_turn(
        turn_handler.handle_utterance(ref, Utterance(utterance), models=models, services=services)
    )
    if isinstance(result.actions[-1], TransferOrder):
        result = call_flow.finish_transfer(ref, leg_outcome=leg_outcome, services=services)
    return isinstance(result.actions[-1], Listen)


def _end_replay(ref: CallRef, *, services: Services) -> None:
    """End the replay unless the agent has. Runs after errors too, so that no call stays open."""
    with tenant_session(ref.tenant, database=services.database) as session:
        if record.lock_call_context(session, ref.call_id).has_ended:
            return
        event = CallEvent("ENDED", ref.call_id.hex, clock.now(), "replay", end_reason="api_hangup")
        record.apply_event(session, ref.call_id, event, services=services)
