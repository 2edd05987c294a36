"""A call from ring to end, whatever carries it: begin, turn, finish.

Each opens short transactions of its own, and none is open while a model or a carrier is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlalchemy.orm import Session

from vca.conversation import engine
from vca.conversation.llm import ModelError
from vca.conversation.llm.models import Models
from vca.conversation.transcript import Turn
from vca.conversation.types import CallFacts, Profile
from vca.kit import clock, log, metrics
from vca.registry.dids.service import Owner
from vca.telephony.types import (
    Action,
    Caller,
    CallEvent,
    CallMetadata,
    Forward,
    HangUp,
    Listen,
    Reject,
    Say,
)
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.calls import record, states
from vca.tenant.calls.record import NewCall
from vca.tenant.calls.route import Facts, Route, decide
from vca.tenant.settings import hours

DEFAULT_LANGUAGE = "en"
DEFAULT_SILENCE_S = 10


@dataclass(frozen=True)
class CallRef:
    """A call as plain code holds it."""

    tenant: TenantRef
    call_id: UUID


@dataclass(frozen=True)
class Outcome:
    """What the carrier shall do now. `ref` None: no record was made."""

    ref: CallRef | None
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Ringing:
    """A call at the moment that it rings: whose number, who calls, and the carrier's event."""

    owner: Owner
    metadata: CallMetadata
    caller: Caller
    event: CallEvent
    provider_type: str
    simulated: bool


def begin(ringing: Ringing) -> Outcome:
    """Route and record a call that rings, and say what the caller hears first.

    Idempotent on the carrier's call id: the same ring again is the same call and the same words. A
    call that no agent answers is recorded too, with the reason.
    """
    tenant = ringing.owner.tenant
    with enter(tenant) as session:
        found = record.answering(session, phone_number_id=ringing.owner.phone_number_id)
        route = decide(_facts(ringing.owner, found, at=ringing.metadata.timestamp))
        actions = _first_actions(route, found, ringing.metadata)
        call = _new_call(ringing, route)
        events = [ringing.event, *_answer_events(ringing.event, route)]
        greeting = _spoken(actions) if route.decision == "agent" else ""
        call_id = record.insert_call(session, call, events, greeting=greeting)
        if call_id is None:
            return _again(session, tenant, call, actions)
    known = {"carrier": ringing.provider_type, "simulated": ringing.simulated}
    metrics.CALLS_BEGUN.inc(direction="inbound", **known)
    if (state := states.of(events)).status in states.TERMINAL:
        metrics.CALLS_ENDED.inc(end_reason=state.end_reason, **known)
    log.get().info("call.begun", call_id=str(call_id), decision=route.decision)
    return Outcome(CallRef(tenant, call_id), actions)


def turn(ref: CallRef, *, heard: str, models: Models) -> Outcome:
    """Answer what the caller said. Raises NotFound; a model that fails ends the call politely."""
    began = clock.now()
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        if talk.status in states.TERMINAL:
            return Outcome(ref, (HangUp(),))
        said = record.turns(session, ref.call_id)
        if heard.strip():
            record.insert_turn(
                session,
                ref.call_id,
                sequence=len(said) + 1,
                speaker="caller",
                text=heard,
                at=began,
            )
    profile = _profile(talk.profile)
    transcript = [Turn(line.speaker, line.text, line.heard_text) for line in said]  # type: ignore[arg-type]
    facts = CallFacts(talk.caller_number, talk.called_number, talk.answered_at or began)
    now = began.astimezone(ZoneInfo(talk.time_zone))
    try:
        reply = engine.reply(profile, transcript, heard, models=models, facts=facts, now=now)
    except ModelError as error:
        metrics.MODEL_FAILURES_TOTAL.inc(failure=error.failure)
        log.get().error("call.model_failed", call_id=str(ref.call_id), failure=error.failure)
        text = record.sentence(talk.sentences, "fallback")
        return _say(ref, talk, text, {}, end_reason="model_error")
    for stage, took_ms in reply.latency_ms.items():
        metrics.TURN_SECONDS.observe(took_ms / 1000, stage=stage)
    metrics.TURN_SECONDS.observe((clock.now() - began).total_seconds(), stage="total")
    ends = [action.end_reason for action in reply.actions if action.kind == "hang_up"]
    end_reason = ends[0] if ends else None
    return _say(ref, talk, reply.text, reply.latency_ms, end_reason=end_reason)


def finish(ref: CallRef, *, event: CallEvent) -> states.State:
    """Record an event of a call that has begun, and what follows from it. Raises NotFound."""
    with enter(ref.tenant) as session:
        state = record.happened(session, ref.call_id, event)
    if state.status in states.TERMINAL:
        log.get().info("call.ended", call_id=str(ref.call_id), end_reason=state.end_reason)
    return state


def explain(session: Session, *, owner: Owner | None, at: datetime) -> Route:
    """The route that a call to the number would take at that time; no call is made.

    `owner` None: the number is not this tenant's.
    """
    if owner is None:
        return decide(Facts(at, owned=False))
    return decide(
        _facts(owner, record.answering(session, phone_number_id=owner.phone_number_id), at=at)
    )


def _say(
    ref: CallRef,
    talk: Row[Any],
    text: str,
    latency_ms: Mapping[str, int],
    *,
    end_reason: str | None,
) -> Outcome:
    """Record what the agent says now, and the end of the call if these are its last words."""
    now = clock.now()
    with enter(ref.tenant) as session:
        if record.talk(session, ref.call_id).status in states.TERMINAL:
            return Outcome(ref, (HangUp(),))
        record.insert_turn(
            session,
            ref.call_id,
            sequence=len(record.turns(session, ref.call_id)) + 1,
            speaker="agent",
            text=text,
            at=now,
            latency_ms=latency_ms,
        )
        if end_reason is not None:
            event = CallEvent("ENDED", str(ref.call_id), now, "agent", end_reason=end_reason)
            record.happened(session, ref.call_id, event)
    say = Say(text, talk.profile["language"], talk.profile["voice"])
    last: Action = HangUp() if end_reason else _listen(talk.profile)
    return Outcome(ref, (say, last))


def _again(
    session: Session, tenant: TenantRef, call: NewCall, actions: tuple[Action, ...]
) -> Outcome:
    """The carrier rings a call that it has rung before: the first answer got lost on the way."""
    call_id = record.find(
        session, provider_type=call.provider_type, provider_call_id=call.provider_call_id
    )
    assert call_id is not None
    said: Sequence[Any] = record.turns(session, call_id)
    if said and isinstance(actions[0], Say):
        actions = (Say(said[0].text, actions[0].language, actions[0].voice), *actions[1:])
    return Outcome(CallRef(tenant, call_id), actions)


def _facts(owner: Owner, found: Row[Any], *, at: datetime) -> Facts:
    own = found.number_hours is not None
    kept = hours.read(found.number_hours if own else found.tenant_hours)
    return Facts(
        at=at,
        owned=True,
        tenant_status=owner.tenant_status,
        rests_until=owner.rests_until,
        exists=found.phone_number_id is not None,
        is_active=bool(found.is_active),
        mode=found.mode or "agent",
        forward_to=found.forward_to,
        fallback_number=found.fallback_number,
        hours=hours.state_at(kept, ZoneInfo(found.time_zone), at),
        hours_of="number" if own else "tenant",
        names_profile=found.named_profile_id is not None,
        ai_profile_id=found.ai_profile_id,
        ai_profile_version=found.version,
    )


def _first_actions(route: Route, found: Row[Any], metadata: CallMetadata) -> tuple[Action, ...]:
    match route.decision:
        case "agent":
            profile = _profile(found._asdict())
            now = metadata.timestamp
            facts = CallFacts(metadata.caller_number, metadata.called_number, now)
            zone = ZoneInfo(found.time_zone)
            greeting = engine.greeting(profile, facts=facts, now=now.astimezone(zone))
            say = Say(greeting, found.language, found.voice)
            return say, _listen(found._asdict())
        case "forward":
            assert route.forward_to is not None
            return (Forward(route.forward_to),)
        case "closed" | "voicemail":
            return Say(record.sentence(found.sentences, "closed")), HangUp()
        case _ if route.end_reason == "tenant_suspended":
            return Say(record.sentence(found.sentences, "suspended")), HangUp()
        case _ if route.end_reason == "declined":
            return Say(record.sentence(found.sentences, "fallback")), HangUp()
        case _:
            return (Reject(),)


def _answer_events(ring: CallEvent, route: Route) -> list[CallEvent]:
    """What our own answer does to the call: an agent's lasts, everything else ends it at once."""

    now = clock.now()

    def event(event_type: Any, end_reason: str | None = None) -> CallEvent:
        return CallEvent(event_type, ring.call_id, now, f"own-{event_type}", end_reason)

    if route.decision == "agent":
        return [event("ANSWERED")]
    if route.decision == "refused":
        return [event("FAILED", route.end_reason)]
    return [event("ANSWERED"), event("ENDED", route.end_reason)]


def _new_call(ringing: Ringing, route: Route) -> NewCall:
    return NewCall(
        phone_number_id=ringing.metadata.phone_number_id,
        ai_profile_id=route.ai_profile_id,
        ai_profile_version=route.ai_profile_version,
        caller_number=ringing.caller.number,
        caller_id=ringing.caller.caller_id,
        called_number=ringing.metadata.called_number,
        provider_type=ringing.provider_type,
        provider_call_id=ringing.event.call_id,
        simulated=ringing.simulated,
        route=route.as_dict(),
    )


def _profile(kept: Mapping[str, Any]) -> Profile:
    """A stored profile as the conversation wants it; what was left open keeps its default there."""
    names = Profile.__dataclass_fields__
    given = {name: kept[name] for name in names if name in kept and kept[name] not in (None, [])}
    given["end_phrases"] = tuple(given.get("end_phrases", ()))
    # What else a model may do is offered once the flow can do it.
    given["tools"] = tuple({"end_call"}.intersection(given.get("tools", ())))
    given.pop("transfer_targets", None)
    return Profile(**given)


def _listen(profile: Mapping[str, Any]) -> Listen:
    return Listen(profile["silence_seconds"] or DEFAULT_SILENCE_S, profile["language"])


def _spoken(actions: Sequence[Action]) -> str:
    return " ".join(action.text for action in actions if isinstance(action, Say))
