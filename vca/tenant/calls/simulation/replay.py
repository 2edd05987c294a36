"""Replay a finished call with another AI profile, to compare what the agent says.

The stored utterances of the caller are repeated in order in a simulated call of the fake carrier,
which is stored as any other. A replay dials nobody and leaves no message, because staff would call
back twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.conversation.llm.models import Models
from vca.kit import clock, deadline
from vca.kit.errors import Conflict, InvalidInput
from vca.observability import metrics
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.providers import Carriers
from vca.telephony.types import CallEvent, CallMetadata, Listen, Transfer
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion
from vca.tenant.calls.core import call_types, record, state_machine, watchdog
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.core.call_types import CallRef, NewCall
from vca.tenant.calls.core.models import Call
from vca.tenant.calls.routing.routing_rules import Route, RuleResult
from vca.tenant.calls.simulation import comparison, stream_limit
from vca.tenant.calls.simulation.comparison import CallTranscript, StoppedEarly
from vca.tenant.calls.turns import call_flow, call_start, turn_handler

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
    ai_profile_id: UUID
    version: int

    @property
    def utterances(self) -> list[str]:
        return [turn.text for turn in self.original.turns if turn.speaker == "caller"]


def replay_call(
    tenant: TenantRef,
    *,
    carriers: Carriers,
    services: CallServices,
    call_id: UUID,
    ai_profile_id: UUID,
    version: int | None = None,
) -> dict[str, Any]:
    """Repeat a finished call's utterances to a profile; return both calls, turn by turn.

    The version defaults to the profile's current one. With a deadline, the replay stops before a
    turn that might not end in time. Raises NotFound, InvalidInput for a profile or version that is
    not the tenant's, CallNotFinished, NothingToReplay and TooManyStreams.
    """
    with stream_limit.stream_slot():
        with tenant_session(tenant) as session:
            original = _load_transcript(session, call_id)
            version = _resolve_version(session, ai_profile_id, version)
        request = _ReplayRequest(original, ai_profile_id, version)
        _require_replayable(request)
        ref = _start_replay(tenant, carriers.simulator, request)
        try:
            stopped_early = _replay_utterances(ref, request.utterances, services.models)
        finally:
            _end_replay(ref)
        with tenant_session(tenant) as session:
            return comparison.compare_calls(
                original, _load_transcript(session, ref.call_id), stopped_early
            )


def _load_transcript(session: Session, call_id: UUID) -> CallTranscript:
    call = record.get_call(session, call_id)
    return CallTranscript(call, record.load_turns(session, call_id))


def _resolve_version(session: Session, ai_profile_id: UUID, version: int | None) -> int:
    """Return the version to use. Versions of a deleted profile can still be named."""
    versions = select(AiProfileVersion.version).where(
        AiProfileVersion.ai_profile_id == ai_profile_id
    )
    if version is None:
        versions = select(AiProfile.version).where(AiProfile.id == ai_profile_id)
    known_versions = session.scalars(versions).all()
    if not known_versions:
        raise InvalidInput.field("ai_profile_id", "The tenant has no AI profile with this id.")
    if version is not None and version not in known_versions:
        raise InvalidInput.field("version", "The AI profile has no such version.")
    return known_versions[0] if version is None else version


def _require_replayable(request: _ReplayRequest) -> None:
    if request.original.call.live:
        raise CallNotFinished
    if not request.utterances:
        raise NothingToReplay


def _start_replay(
    tenant: TenantRef, simulator: TelephonyAdapter, request: _ReplayRequest
) -> CallRef:
    """Record a simulated call with the same two numbers, and have its caller greeted."""
    call, ref = request.original.call, CallRef(tenant, uuid4())
    metadata = CallMetadata(
        tenant_id=tenant.id,
        phone_number_id=call.phone_number_id,
        caller_number=call.caller_number,
        called_number=call.called_number,
        direction=call.direction,  # type: ignore[arg-type] # one of them
        timestamp=clock.now(),
        call_id=ref.call_id.hex,
    )
    events = [simulator.on_inbound_call(metadata)]
    new_call = _new_call(call, request, simulator.name, metadata.call_id)
    with tenant_session(tenant) as session:
        record.insert_call(
            session,
            ref.call_id,
            new_call,
            events,
            state_machine.state_from_events(events),
            greeting="",
        )
        watchdog.start_watch(session, call_id=ref.call_id, now=metadata.timestamp)
    metrics.CALLS_BEGUN.inc(direction=call.direction, carrier=simulator.name, simulated=True)
    call_start.start_outbound_call(ref, provider_call_id=metadata.call_id)
    return ref


def _new_call(
    call: Call, request: _ReplayRequest, provider_type: str, provider_call_id: str
) -> NewCall:
    rule_result = RuleResult("profile", "decided", "the replay was requested with this profile")
    route = Route(
        "agent",
        (rule_result,),
        ai_profile_id=request.ai_profile_id,
        ai_profile_version=request.version,
    )
    return NewCall(
        phone_number_id=call.phone_number_id,
        ai_profile_id=request.ai_profile_id,
        ai_profile_version=request.version,
        caller_number=call.caller_number,
        caller_id=call.caller_id,
        called_number=call.called_number,
        provider_type=provider_type,
        provider_call_id=provider_call_id,
        simulated=True,
        route=route.as_dict(),
        direction=call.direction,
        # The replay's prompt uses the same variables.
        call_metadata={**call.call_metadata, "replay_of": str(call.id)},
    )


def _replay_utterances(
    ref: CallRef, utterances: Sequence[str], models: Models
) -> StoppedEarly | None:
    """Repeat all utterances in order; return why it stopped early, or None."""
    for count, utterance in enumerate(utterances, start=1):
        remaining_s = deadline.remaining_s()
        if (
            remaining_s is not None
            and remaining_s < models.latency_policy.whole_s + _DATABASE_MARGIN_S
        ):
            return "out_of_time"
        if not _replay_utterance(ref, utterance, models):
            return "call_ended" if count < len(utterances) else None
    return None


def _replay_utterance(ref: CallRef, utterance: str, models: Models) -> bool:
    """Repeat one utterance; return whether the call goes on. Nobody answers a transfer."""
    result = call_types.collect_turn(
        turn_handler.handle_utterance(ref, utterance=utterance, models=models)
    )
    if isinstance(result.actions[-1], Transfer):
        result = call_flow.finish_transfer(ref, leg_outcome="no_answer")
    return isinstance(result.actions[-1], Listen)


def _end_replay(ref: CallRef) -> None:
    """End the replay unless the agent has. Runs after errors too, so that no call stays open."""
    with tenant_session(ref.tenant) as session:
        if record.lock_call_context(session, ref.call_id).status in state_machine.TERMINAL:
            return
        event = CallEvent("ENDED", ref.call_id.hex, clock.now(), "replay", end_reason="api_hangup")
        record.apply_event(session, ref.call_id, event)
