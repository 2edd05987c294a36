"""A carrier's request on its way through the flow, and the carrier's answer back.

The one code path of real carriers, simulations and the telephone in the terminal.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

from vca.kit import clock, log
from vca.kit.db import DatabaseUnavailable
from vca.kit.phone import masked
from vca.registry.dids import service as dids
from vca.registry.dids.service import Owner
from vca.registry.tenants import service as tenants
from vca.telephony.adapter import BadCarrierRequest, TelephonyAdapter
from vca.telephony.types import (
    Action,
    CallMetadata,
    CallReply,
    CarrierFacts,
    CarrierRequest,
    CarrierResponse,
    FactKind,
    HangUp,
    Reject,
)
from vca.tenancy import schema
from vca.tenancy.schema import TenantUpgrading
from vca.tenancy.session import enter, lookup, public
from vca.tenant.calls import fallback, flow, patience, record, relays, voicemail
from vca.tenant.calls.desk import Desk, Sealed
from vca.tenant.calls.opening import Ringing
from vca.tenant.calls.refs import CallRef, Clause, Outcome, joined

# Facts of a call whose caller waits for our words; all others are kept, or come again.
_HEARD: tuple[FactKind, ...] = (
    "call",
    "answered",
    "speech",
    "keys",
    "more",
    "relayed",
    "leg",
)


def receive(adapter: TelephonyAdapter, request: CarrierRequest, desk: Desk) -> CarrierResponse:
    """Do what a carrier's request says and answer in the carrier's words.

    Raises BadCarrierRequest and SignatureRefused, both before anything is written.
    """
    facts = adapter.parse(request)
    adapter.verify(request)
    if facts.kind in _HEARD:
        reply = relays.offered(_answer(adapter, facts, desk), facts, adapter, desk)
    else:
        reply = _note(adapter, facts, desk)
    return adapter.answer(facts, reply, callback_url=desk.callback_url(adapter.name))


def stream(
    adapter: TelephonyAdapter, request: CarrierRequest, desk: Desk
) -> Generator[Clause, None, CarrierResponse]:
    """The same for a line that can be spoken on while the agent thinks: the words come first.

    The response then holds what follows them. Only what the caller said is answered so.
    """
    facts = adapter.parse(request)
    adapter.verify(request)
    sealed = _sealed(facts, desk)
    outcome = yield from _turn(facts, sealed, desk)
    callback_url = desk.callback_url(adapter.name)
    return adapter.answer(facts, _reply(outcome, desk), callback_url=callback_url)


def find_owner(number: str) -> Owner | None:
    """Whose a called number is; a number of a deleted tenant is nobody's."""
    with lookup() as connection:
        owner = dids.find_owner(connection, number=number)
    return None if owner is None or owner.tenant_status == "deleted" else owner


def _answer(adapter: TelephonyAdapter, facts: CarrierFacts, desk: Desk) -> CallReply:
    """What the caller hears; with the database away a sentence, never silence.

    An event that cannot be kept is another matter: it fails, and its carrier sends it again.
    """
    try:
        if facts.kind == "call":
            return _ring(adapter, facts, desk)
        sealed = _sealed(facts, desk)
        tenants.require_supported(sealed.ref.tenant.id)
        return _ANSWERS[facts.kind](facts, sealed, desk)
    except TenantUpgrading:
        log.get().warning("call.tenant_upgrading")
        return CallReply(fallback.SENTENCE)
    except DatabaseUnavailable as error:
        log.get().error("call.not_answered", provider=adapter.name, exc_info=error)
        return CallReply(fallback.SENTENCE)


def _ring(adapter: TelephonyAdapter, facts: CarrierFacts, desk: Desk) -> CallReply:
    owner = find_owner(facts.called_number)
    if owner is None:
        return _miss(facts.called_number)
    if not schema.supports(owner.schema_revision):
        return _upgrading(owner, facts.called_number)
    metadata = CallMetadata(
        tenant_id=owner.tenant.id,
        phone_number_id=owner.phone_number_id,
        caller_number=facts.caller.number,
        called_number=facts.called_number,
        direction="inbound",
        timestamp=clock.now(),
        call_id=facts.provider_call_id,
    )
    event = adapter.on_inbound_call(metadata)
    ringing = Ringing(owner, metadata, facts.caller, event, adapter.name, facts.simulated)
    answerable = desk.may_answer(simulated=facts.simulated)
    return _reply(flow.begin(ringing, answerable=answerable), desk)


def _miss(number: str) -> CallReply:
    """A number that nobody has: refused politely, logged, counted."""
    log.get().warning("call.missed_number", called=masked(number))
    with public() as session:
        dids.count_miss(session, number=number)
    return CallReply((Reject(),))


def _upgrading(owner: Owner, number: str) -> CallReply:
    """A schema too old for this code: the configured fallback, logged, counted, not recorded."""
    log.get().warning(
        "call.tenant_upgrading", tenant_id=str(owner.tenant.id), called=masked(number)
    )
    with public() as session:
        dids.count_miss(session, number=number)
    return CallReply(fallback.configured(owner))


def _answered(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    outcome = flow.begin_outbound(sealed.ref, provider_call_id=facts.provider_call_id)
    return _reply(outcome, desk)


def _spoken(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    """The agent's words within the caller's patience; for the rest the carrier comes back."""
    begun = patience.begin(_turn(facts, sealed, desk))
    if begun.outcome is not None:
        return _reply(_with_words(begun.clauses, begun.outcome), desk)
    words = joined(begun.clauses)
    said = sum(len(say.text) for say in words)
    token = desk.seal(sealed.ref, turns=sealed.turns, said=said)
    return CallReply((*words, patience.COME_BACK), token)


def _turn(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> Generator[Clause, None, Outcome]:
    if facts.kind == "keys":
        return flow.dtmf(sealed.ref, keys=facts.keys, models=desk.models, after=sealed.turns)
    return flow.turn(sealed.ref, heard=facts.speech, models=desk.models, after=sealed.turns)


def _rest(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    """What has not been said yet of an answer; one that its process lost is given anew."""
    if sealed.turns is None:
        raise BadCarrierRequest("more of what")
    found = patience.answer(sealed.ref, after=sealed.turns)
    if found is None:
        return _spoken(facts, replace(sealed, said=0), desk)
    clauses, outcome = found
    rest = [replace(clause, text=clause.text[sealed.said :].strip()) for clause in clauses]
    words = [clause for clause in rest if clause.text]
    return _reply(_with_words(words, outcome), desk)


def _leg(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    if facts.leg is None:
        raise BadCarrierRequest("a leg without its outcome")
    outcome = flow.returned(sealed.ref, leg=facts.leg, after=sealed.turns)
    return _reply(outcome, desk)


def _relayed(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    """Go on without the socket that has ended. What was lost with it is said, or said again."""
    if facts.handoff == relays.FAILED:
        return CallReply((HangUp(),))
    resumed = flow.resumed(sealed.ref, again=not facts.handoff)
    if isinstance(resumed, Outcome):
        return _reply(resumed, desk)
    heard = replace(facts, kind="speech", speech=resumed.heard)
    return _spoken(heard, replace(sealed, turns=resumed.after), desk)


_ANSWERS: Mapping[FactKind, Callable[[CarrierFacts, Sealed, Desk], CallReply]] = {
    "answered": _answered,
    "speech": _spoken,
    "keys": _spoken,
    "more": _rest,
    "relayed": _relayed,
    "leg": _leg,
}


def _note(adapter: TelephonyAdapter, facts: CarrierFacts, desk: Desk) -> CallReply:
    """Keep what happened; where a schema is too old for it, it fails, and comes again."""
    if facts.kind == "progress":
        return CallReply(())
    ref = desk.unseal(facts.state).ref if facts.state else _known_call(adapter, facts)
    if ref is not None and facts.state:
        tenants.require_supported(ref.tenant.id)
    if ref is None:
        return CallReply(())
    if facts.kind == "interrupted":
        flow.interrupted(ref, heard=facts.speech)
    elif facts.kind == "voicemail":
        voicemail.left(ref, recording_id=facts.recording_id)
        return CallReply((HangUp(),))
    elif facts.kind == "recording":
        voicemail.recorded(ref, recording_id=facts.recording_id)
    elif facts.event is not None:
        flow.finish(ref, event=facts.event)
    return CallReply(())


def _known_call(adapter: TelephonyAdapter, facts: CarrierFacts) -> CallRef | None:
    """The call of an event that bears no state; None when there is no such call.

    Nor is there one at a tenant whose schema is too old: its calls are not recorded.
    """
    owner = find_owner(facts.called_number)
    if owner is None or not schema.supports(owner.schema_revision):
        return None
    with enter(owner.tenant) as session:
        call_id = record.find(
            session, provider_type=adapter.name, provider_call_id=facts.provider_call_id
        )
    return CallRef(owner.tenant, call_id) if call_id else None


def _sealed(facts: CarrierFacts, desk: Desk) -> Sealed:
    if facts.state is None:
        raise BadCarrierRequest(f"{facts.kind} without a call")
    return desk.unseal(facts.state)


def _with_words(clauses: list[Clause], outcome: Outcome) -> Outcome:
    return replace(outcome, actions=(*joined(clauses), *outcome.actions))


def _reply(outcome: Outcome, desk: Desk) -> CallReply:
    ends: tuple[type[Action], ...] = (HangUp, Reject)
    goes_on = not isinstance(outcome.actions[-1], ends)
    state = desk.seal(outcome.ref, turns=outcome.turns) if outcome.ref and goes_on else None
    return CallReply(outcome.actions, state)
