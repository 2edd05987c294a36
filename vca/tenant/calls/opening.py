"""How a call begins: routed, recorded, and what is heard first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlalchemy.orm import Session

from vca.kit import clock, crash, metrics
from vca.registry.dids.service import Owner
from vca.telephony.adapter import SignatureRefused
from vca.telephony.types import (
    Action,
    Caller,
    CallEvent,
    CallMetadata,
    CarrierRef,
    EventType,
    Forward,
    HangUp,
    Record,
    Reject,
    Say,
    TakeVoicemail,
)
from vca.tenancy.session import enter
from vca.tenant.calls import answering, decisions, greeting, legs, record, states, watch
from vca.tenant.calls.decisions import Question
from vca.tenant.calls.greeting import RingFacts
from vca.tenant.calls.legs import DiallingRefused
from vca.tenant.calls.record import NewCall
from vca.tenant.calls.refs import CallRef, Outcome
from vca.tenant.calls.route import Advice, Facts, Route, Step, decide
from vca.tenant.settings import hours, limits
from vca.tenant.settings.limits import Limits
from vca.tenant.usage import cap
from vca.tenant.usage.cap import Leave, Live

# What a tenant's sentence is said for; the fallback number comes after it, where there is one.
_SENTENCES = {
    "concurrency_limit": "over_limit",
    "token_limit": "over_limit",
    "spend_cap": "over_limit",
    "tenant_suspended": "suspended",
    "declined": "fallback",
    "model_error": "fallback",
}
_TO_FALLBACK = ("concurrency_limit", "token_limit", "spend_cap", "model_error")


@dataclass(frozen=True)
class Ringing:
    """A call at the moment that it rings: whose number, who calls, the carrier and its event."""

    owner: Owner
    metadata: CallMetadata
    caller: Caller
    event: CallEvent
    carrier: CarrierRef
    simulated: bool

    @property
    def provider_type(self) -> str:
        return self.carrier.provider_type


class RungMeanwhile(Exception):
    """The carrier has rung the same call twice at once, and the other one was first."""


@dataclass(frozen=True)
class _Opening:
    """A decided beginning, not yet recorded."""

    ringing: Ringing
    call_id: UUID
    found: Row[Any]
    route: Route
    actions: tuple[Action, ...]
    variables: Mapping[str, str]
    reserve: int

    @property
    def events(self) -> list[CallEvent]:
        """The carrier's event, and what our own answer does to the call.

        An agent's answer lasts, and so does voicemail; everything else ends the call at once.
        """
        ring, now = self.ringing.event, clock.now()

        def own(event_type: EventType, end_reason: str | None = None) -> CallEvent:
            return CallEvent(event_type, ring.call_id, now, f"own-{event_type}", end_reason)

        if self.route.decision in ("agent", "voicemail"):
            return [ring, own("ANSWERED")]
        if self.route.decision == "refused":
            return [ring, own("FAILED", self.route.end_reason)]
        return [ring, own("ANSWERED"), own("ENDED", self.route.end_reason)]


def ring(ringing: Ringing, *, answerable: bool) -> Outcome:
    """Record a call that rings, once for each id of its carrier; see `flow.begin`.

    A number's decision webhook is asked between two transactions: what holds by then decides.
    """
    question, advice = None, None
    while isinstance(begun := _begin(ringing, question, advice, answerable=answerable), Question):
        question, advice = begun, decisions.ask(begun)
    return begun


def _begin(
    ringing: Ringing, question: Question | None, advice: Advice | None, *, answerable: bool
) -> Outcome | Question:
    """Record the call; what is to be asked before, if something is."""
    tenant = ringing.owner.tenant
    with enter(tenant) as session:
        found = answering.of_call(
            session,
            phone_number_id=ringing.owner.phone_number_id,
            provider_type=ringing.provider_type,
            provider_call_id=ringing.event.call_id,
            simulated=ringing.simulated,
        )
        if found.known_call_id is not None:
            return _again(session, ringing, found)
        facts, reserve = _ringing_facts(session, ringing, found, answerable=answerable)
        if advice is None and decide(facts).asks:
            return _question(ringing, found)
        call_id = question.call_id if question else uuid4()
        opening = _decided(session, ringing, found, facts, advice, call_id, reserve)
        events = opening.events
        state = states.of(events)
        if not _insert(session, opening, events, state):
            raise RungMeanwhile
        if state.status not in states.TERMINAL:
            watch.begin(session, call_id=opening.call_id, now=ringing.metadata.timestamp)
    crash.point("calls.ring.committed")
    _count(ringing, state)
    return Outcome(CallRef(tenant, opening.call_id), opening.actions, _turns(opening.route))


def explain(
    session: Session, *, owner: Owner | None, at: datetime, simulated: bool = False
) -> Route:
    """The route that a call to the number would take at that time; no call is made.

    `owner` None: the number is not this tenant's. `simulated`: it would cost nothing.
    """
    if owner is None:
        return decide(Facts(at, owned=False))
    found = answering.of_number(session, phone_number_id=owner.phone_number_id)
    facts = _facts(owner, found, at=at)
    if not simulated:
        leave = _leave(session, found, record.live(session), at)
        facts = replace(facts, within_cap=leave.given)
    return decide(facts)


def answered(ref: CallRef, *, provider_call_id: str) -> Outcome:
    """The first words to whom we have called; see `flow.begin_outbound`."""
    now = clock.now()
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        if talk.status in states.TERMINAL or record.lines(session, ref.call_id):
            return _greeted(session, ref)
        if talk.provider_call_id != provider_call_id:
            record.learn(session, ref.call_id, provider_call_id=provider_call_id)
        event = CallEvent("ANSWERED", provider_call_id, now, "own-ANSWERED")
        record.happened(session, ref.call_id, event)
        words, actions = greeting.first_words(talk.profile, talk, now=now)
        record.insert_turn(session, ref.call_id, sequence=1, speaker="agent", text=words, at=now)
        if Record() in actions and not talk.simulated:
            record.note(session, ref.call_id, recording_status="recording")
    crash.point("calls.answered.committed")
    return Outcome(ref, actions, 1)


def _ringing_facts(
    session: Session, ringing: Ringing, found: Row[Any], *, answerable: bool
) -> tuple[Facts, int]:
    """What the route depends on, and what the call reserves of the spend cap."""
    facts = _facts(ringing.owner, found, at=ringing.metadata.timestamp)
    facts = replace(facts, answerable=answerable)
    if ringing.simulated:
        return facts, 0
    live = record.live(session)
    leave = _leave(session, found, live, facts.at)
    allowed = limits.effective(ringing.owner.plan_limits, found.limits)
    facts = replace(_within_limits(session, facts, allowed, live), within_cap=leave.given)
    return facts, leave.reserve


def _question(ringing: Ringing, found: Row[Any]) -> Question:
    told, tenant = ringing.metadata, ringing.owner.tenant
    return decisions.question(
        found,
        tenant_id=tenant.id,
        called_number=told.called_number,
        caller=ringing.caller,
        simulated=ringing.simulated,
        at=clock.now(),
    )


def _decided(
    session: Session,
    ringing: Ringing,
    found: Row[Any],
    facts: Facts,
    advice: Advice | None,
    call_id: UUID,
    reserve: int,
) -> _Opening:
    if advice is not None:
        found, advice = decisions.resolved(session, found, advice)
        facts = replace(
            facts,
            advice=advice,
            ai_profile_id=found.ai_profile_id,
            ai_profile_version=found.version,
        )
    route = decide(facts)
    variables = advice.variables if advice else {}
    actions = _first_actions(session, ringing, found, route, call_id, variables)
    if route.decision == "forward" and not isinstance(actions[-1], Forward):
        why = "that number may not be dialled"
        if advice is not None and advice.decision == "forward":
            void = advice.void(why)
            return _decided(session, ringing, found, facts, void, call_id, reserve)
        steps = (*route.steps, Step("dialling", "decided", why))
        route = replace(route, steps=steps, end_reason="declined")
    return _Opening(ringing, call_id, found, route, actions, variables, reserve)


def _leave(session: Session, found: Row[Any], live: Live, at: datetime) -> Leave:
    return cap.ask(session, spend_cap=found.spend_cap, live=live, now=at)


def _within_limits(session: Session, facts: Facts, allowed: Limits, live: Live) -> Facts:
    """The settings' row is held: of calls that ring at once each sees those before it."""
    line_free = live.calls < allowed.concurrent_calls
    left = allowed.tokens_per_day
    tokens_left = left is None or record.tokens_since(session, hours=24) < left
    return replace(facts, line_free=line_free, tokens_left=tokens_left)


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
        asks=found.decision_url is not None,
    )


def _first_actions(
    session: Session,
    ringing: Ringing,
    found: Row[Any],
    route: Route,
    call_id: UUID,
    variables: Mapping[str, str],
    *,
    again: bool = False,
) -> tuple[Action, ...]:
    sentence = record.sentence(found.sentences, _SENTENCES.get(route.end_reason or "", "closed"))
    match route.decision:
        case "agent":
            talk = RingFacts(ringing.metadata, found, variables)
            return greeting.first_words(found._asdict(), talk, now=ringing.metadata.timestamp)[1]
        case "forward":
            to = _connect(session, ringing, route.forward_to, call_id, again=again)
            return to or (Say(record.sentence(found.sentences, "fallback")), HangUp())
        case "voicemail":
            return Say(sentence), TakeVoicemail()
        case "closed":
            return Say(sentence), HangUp()
        case _ if route.rejects:
            return (Reject(),)
        case _ if route.end_reason in _TO_FALLBACK:
            to = _connect(session, ringing, found.fallback_number, call_id, again=again)
            return Say(sentence), *(to or (HangUp(),))
        case _ if route.end_reason in _SENTENCES:
            return Say(sentence), HangUp()
        case _:
            return (Reject(),)


def _connect(
    session: Session, ringing: Ringing, number: str | None, call_id: UUID, *, again: bool
) -> tuple[Action, ...]:
    """Forward to the number, if there is one and it may be dialled; a simulation dials nobody.

    `again`: what was decided when the call first rang stands, and is not counted twice.
    """
    if number is None:
        return ()
    if again and not ringing.simulated:
        noted = legs.was_noted(session, number, call_id=call_id)
        return (Forward(number),) if noted else ()
    if not ringing.simulated:
        called = ringing.metadata.called_number
        try:
            legs.check(session, number, kind="forward", call_id=call_id, from_number=called)
        except DiallingRefused:
            return ()
    return (Forward(number),)


def _insert(
    session: Session, opening: _Opening, events: Sequence[CallEvent], state: states.State
) -> bool:
    ringing, route = opening.ringing, opening.route
    call = NewCall(
        phone_number_id=ringing.metadata.phone_number_id,
        ai_profile_id=route.ai_profile_id,
        ai_profile_version=route.ai_profile_version,
        caller_number=ringing.caller.number,
        caller_id=ringing.caller.caller_id,
        called_number=ringing.metadata.called_number,
        provider_type=ringing.provider_type,
        provider_call_id=ringing.event.call_id,
        telephony_account_id=ringing.carrier.account_id,
        simulated=ringing.simulated,
        route=route.as_dict(),
        recording_status=_recording(opening),
        call_metadata=opening.variables,
        reserved=opening.reserve,
    )
    words = _spoken(opening.actions) if route.decision == "agent" else ""
    return record.insert_call(session, opening.call_id, call, events, state, greeting=words)


def _recording(opening: _Opening) -> str | None:
    """A simulated call has no audio that anybody could fetch."""
    taped = Record() in opening.actions and not opening.ringing.simulated
    return "recording" if taped else None


def _again(session: Session, ringing: Ringing, found: Row[Any]) -> Outcome:
    """The carrier rings a call that it has rung before: the first answer got lost on the way.

    Raises SignatureRefused when the call is with another account than this ring.
    """
    ref = CallRef(ringing.owner.tenant, found.known_call_id)
    if record.held_by(session, ref.call_id) != ringing.carrier:
        raise SignatureRefused("the call is with another account")
    kept = record.route_of(session, ref.call_id)
    if kept.decision == "agent":
        return _greeted(session, ref)
    actions = _first_actions(session, ringing, found, kept, ref.call_id, {}, again=True)
    return Outcome(ref, actions, _turns(kept))


def _greeted(session: Session, ref: CallRef) -> Outcome:
    """The words that the caller was greeted with; nothing if the call or its words are gone."""
    talk = record.talk(session, ref.call_id)
    said = record.lines(session, ref.call_id)
    if talk.status in states.TERMINAL or not said:
        return Outcome(ref, (HangUp(),))
    return Outcome(ref, greeting.as_said(talk.profile, said[0].text), len(said))


def _turns(route: Route) -> int | None:
    """How many turns are on record once the call has begun; None: nothing more is expected."""
    return {"agent": 1, "voicemail": 0}.get(route.decision)


def _spoken(actions: Sequence[Action]) -> str:
    return " ".join(action.text for action in actions if isinstance(action, Say))


def _count(ringing: Ringing, state: states.State) -> None:
    known = {"carrier": ringing.provider_type, "simulated": ringing.simulated}
    metrics.CALLS_BEGUN.inc(direction="inbound", **known)
    if state.status in states.TERMINAL:
        metrics.CALLS_ENDED.inc(end_reason=state.end_reason, **known)
