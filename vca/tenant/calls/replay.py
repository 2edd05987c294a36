"""A finished call once more, with another AI profile: what would it have said?

The caller's stored words are said to it in their order, in a simulated call of the fake carrier,
which is kept as any other. It dials nobody and leaves no message: staff would call back twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.conversation.llm.models import Models
from vca.kit import clock, deadline, metrics
from vca.kit.errors import Conflict, InvalidInput
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.providers import Carriers
from vca.telephony.types import CallEvent, CallMetadata, Listen, Transfer
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion
from vca.tenant.calls import comparing, flow, long_answers, record, refs, service, states, watch
from vca.tenant.calls.comparing import StoppedEarly, Told
from vca.tenant.calls.desk import Desk
from vca.tenant.calls.models import Call
from vca.tenant.calls.record import NewCall
from vca.tenant.calls.refs import CallRef
from vca.tenant.calls.route import Route, Step

# Beyond the model's own patience, for the database: a turn that could not end is not begun.
_SPARE_S = 3.0


class CallNotFinished(Conflict):
    """The call still goes on."""

    code = "call-not-finished"

    def __init__(self) -> None:
        super().__init__("The call has not ended yet.")


class NothingToReplay(Conflict):
    """No words of a caller are on record."""

    code = "nothing-to-replay"

    def __init__(self) -> None:
        super().__init__("The caller of this call has said nothing that is on record.")


@dataclass(frozen=True)
class _Wanted:
    """A finished call, and who shall answer its caller now."""

    original: Told
    ai_profile_id: UUID
    version: int

    @property
    def said(self) -> list[str]:
        return [turn.text for turn in self.original.turns if turn.speaker == "caller"]


def replay(
    tenant: TenantRef,
    *,
    carriers: Carriers,
    desk: Desk,
    call_id: UUID,
    ai_profile_id: UUID,
    version: int | None = None,
) -> dict[str, Any]:
    """Say what the caller of a finished call said to a profile; both calls, turn by turn.

    The version is the profile's present one if none is named. With a deadline it stops before the
    turn that might not end in time. Raises NotFound, InvalidInput for a profile or version that is
    not the tenant's, CallNotFinished, NothingToReplay and TooManyStreams.
    """
    with long_answers.one():
        with enter(tenant) as session:
            original = _told(session, call_id)
            version = _version(session, ai_profile_id, version)
        wanted = _Wanted(original, ai_profile_id, version)
        _require_replayable(wanted)
        ref = _begin(tenant, carriers.simulator, wanted)
        try:
            stopped = _speak(ref, wanted.said, desk.models)
        finally:
            _end(ref)
        with enter(tenant) as session:
            return comparing.compare(original, _told(session, ref.call_id), stopped)


def _told(session: Session, call_id: UUID) -> Told:
    call = service.get(session, call_id=call_id)
    return Told(call, record.turns(session, call_id))


def _version(session: Session, ai_profile_id: UUID, version: int | None) -> int:
    """The version that is meant; those of a deleted profile can still be named."""
    kept = select(AiProfileVersion.version).where(AiProfileVersion.ai_profile_id == ai_profile_id)
    if version is None:
        kept = select(AiProfile.version).where(AiProfile.id == ai_profile_id)
    known = session.scalars(kept).all()
    if not known:
        raise InvalidInput.field("ai_profile_id", "The tenant has no such profile.")
    if version is not None and version not in known:
        raise InvalidInput.field("version", "The profile has no such version.")
    return known[0] if version is None else version


def _require_replayable(wanted: _Wanted) -> None:
    if wanted.original.call.live:
        raise CallNotFinished
    if not wanted.said:
        raise NothingToReplay


def _begin(tenant: TenantRef, simulator: TelephonyAdapter, wanted: _Wanted) -> CallRef:
    """Record a simulated call of the same two numbers, and have its caller greeted."""
    call, ref = wanted.original.call, CallRef(tenant, uuid4())
    told = CallMetadata(
        tenant_id=tenant.id,
        phone_number_id=call.phone_number_id,
        caller_number=call.caller_number,
        called_number=call.called_number,
        direction=call.direction,  # type: ignore[arg-type] # one of them
        timestamp=clock.now(),
        call_id=ref.call_id.hex,
    )
    rings = [simulator.on_inbound_call(told)]
    new = _new_call(call, wanted, simulator.name, told.call_id)
    with enter(tenant) as session:
        record.insert_call(session, ref.call_id, new, rings, states.of(rings), greeting="")
        watch.begin(session, call_id=ref.call_id, now=told.timestamp)
    metrics.CALLS_BEGUN.inc(direction=call.direction, carrier=simulator.name, simulated=True)
    flow.begin_outbound(ref, provider_call_id=told.call_id)
    return ref


def _new_call(call: Call, wanted: _Wanted, carrier: str, provider_call_id: str) -> NewCall:
    why = Step("profile", "decided", "the replay names this profile")
    route = Route(
        "agent", (why,), ai_profile_id=wanted.ai_profile_id, ai_profile_version=wanted.version
    )
    return NewCall(
        phone_number_id=call.phone_number_id,
        ai_profile_id=wanted.ai_profile_id,
        ai_profile_version=wanted.version,
        caller_number=call.caller_number,
        caller_id=call.caller_id,
        called_number=call.called_number,
        provider_type=carrier,
        provider_call_id=provider_call_id,
        simulated=True,
        route=route.as_dict(),
        direction=call.direction,
        # What its prompt may tell, the prompt of the replay may tell too.
        call_metadata={**call.call_metadata, "replay_of": str(call.id)},
    )


def _speak(ref: CallRef, said: Sequence[str], models: Models) -> StoppedEarly | None:
    """Say it all, one after the other; why not all of it could be said."""
    for count, words in enumerate(said, start=1):
        left_s = deadline.remaining_s()
        if left_s is not None and left_s < models.patience.whole_s + _SPARE_S:
            return "out_of_time"
        if not _goes_on(ref, words, models):
            return "call_ended" if count < len(said) else None
    return None


def _goes_on(ref: CallRef, words: str, models: Models) -> bool:
    """Say one thing and hear the answer; whoever the agent transfers to does not answer."""
    outcome = refs.whole(flow.turn(ref, heard=words, models=models))
    if isinstance(outcome.actions[-1], Transfer):
        outcome = flow.returned(ref, leg="no_answer")
    return isinstance(outcome.actions[-1], Listen)


def _end(ref: CallRef) -> None:
    """The caller has no more to say, or something failed: no call is left open."""
    with enter(ref.tenant) as session:
        if record.talk(session, ref.call_id).status in states.TERMINAL:
            return
        event = CallEvent("ENDED", ref.call_id.hex, clock.now(), "replay", end_reason="api_hangup")
        record.happened(session, ref.call_id, event)
