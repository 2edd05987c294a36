"""A carrier's request on its way through the flow, and the carrier's answer back.

The one code path of real carriers, simulations and the telephone in the terminal.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

from sqlalchemy.exc import OperationalError

from vca.conversation.llm.models import Models
from vca.kit import clock, log
from vca.kit.db import DatabaseFailure
from vca.kit.phone import masked
from vca.registry.dids import service as dids
from vca.registry.dids.service import Owner
from vca.registry.tenants import service as tenants
from vca.telephony.adapter import BadCarrierRequest, SignatureRefused, TelephonyAdapter
from vca.telephony.types import (
    Action,
    CallMetadata,
    CallReply,
    CarrierFacts,
    CarrierRef,
    CarrierRequest,
    CarrierResponse,
    FactKind,
    HangUp,
    Reject,
)
from vca.tenancy import schema
from vca.tenancy.schema import TenantUpgrading
from vca.tenancy.session import public
from vca.tenant.calls import fallback, flow, patience, relays, signing, voicemail
from vca.tenant.calls.desk import Desk, Sealed
from vca.tenant.calls.opening import Ringing
from vca.tenant.calls.refs import Clause, Outcome, joined
from vca.tenant.calls.signing import Signed

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


def receive(
    reader: TelephonyAdapter, request: CarrierRequest, desk: Desk, *, ours: bool = False
) -> CarrierResponse:
    """Do what a carrier's request says and answer in the carrier's words.

    `reader` reads it, whosever account it is of; `ours`: it is of our own telephone. Raises
    BadCarrierRequest and SignatureRefused, both before anything is written.
    """
    facts = reader.parse(request)
    callback_url = desk.callback_url(reader.name)
    try:
        signed = (signing.own if ours else signing.check)(reader, request, facts, desk)
    except DatabaseFailure as error:
        reply = _nobody_knows(reader, request, facts, error)
        return reader.answer(facts, reply, callback_url=callback_url)
    if facts.kind in _HEARD:
        reply = relays.offered(_answer(signed, facts, desk), facts, signed, desk)
    else:
        reply = _note(signed, facts)
    return signed.carrier.answer(facts, reply, callback_url=callback_url)


def stream(
    simulator: TelephonyAdapter, request: CarrierRequest, desk: Desk
) -> Generator[Clause, None, CarrierResponse]:
    """The same for our own telephone, which can be spoken on while the agent thinks: the words
    come first.

    The response then holds what follows them. Only what the caller said is answered so.
    """
    facts = simulator.parse(request)
    signed = signing.own(simulator, request, facts, desk)
    outcome = yield from _turn(facts, _sealed(signed, facts), desk.models)
    callback_url = desk.callback_url(simulator.name)
    return simulator.answer(facts, _reply(outcome, signed.by, desk), callback_url=callback_url)


def _nobody_knows(
    reader: TelephonyAdapter,
    request: CarrierRequest,
    facts: CarrierFacts,
    error: DatabaseFailure,
) -> CallReply:
    """The database is away that knows who must have signed: a sentence for whose account we have.

    All others are answered as away, and their carrier goes to its own fallback or comes again.
    """
    try:
        reader.verify(request)
    except SignatureRefused:
        raise error from None
    if facts.kind not in _HEARD:
        raise error
    log.get().error("call.not_answered", provider=reader.name, exc_info=error)
    return CallReply(fallback.SENTENCE)


def _answer(signed: Signed, facts: CarrierFacts, desk: Desk) -> CallReply:
    """What the caller hears; a sentence, never silence, where the database cannot serve the call:
    it is away, too busy, or the server has run out of disk or memory.

    An event that cannot be kept is another matter: it fails, and its carrier sends it again.
    """
    try:
        if facts.kind == "call":
            return _ring(signed, facts, desk)
        sealed = _sealed(signed, facts)
        tenants.require_supported(sealed.ref.tenant.id)
        return _ANSWERS[facts.kind](facts, sealed, desk)
    except TenantUpgrading:
        log.get().warning("call.tenant_upgrading")
        return CallReply(fallback.SENTENCE)
    except (DatabaseFailure, OperationalError) as error:
        log.get().error("call.not_answered", provider=signed.by.provider_type, exc_info=error)
        return CallReply(fallback.SENTENCE)


def _ring(signed: Signed, facts: CarrierFacts, desk: Desk) -> CallReply:
    owner = signed.owner
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
    event = signed.carrier.on_inbound_call(metadata)
    ringing = Ringing(owner, metadata, facts.caller, event, signed.by, facts.simulated)
    answerable = desk.may_answer(simulated=facts.simulated)
    return _reply(flow.begin(ringing, answerable=answerable), signed.by, desk)


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
    return _reply(outcome, sealed.carrier, desk)


def _spoken(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    """The agent's words within the caller's patience; for the rest the carrier comes back."""
    begun = patience.begin(_turn(facts, sealed, patience.hurried(desk.models)))
    if begun.outcome is not None:
        return _reply(_with_words(begun.clauses, begun.outcome), sealed.carrier, desk)
    words = joined(begun.clauses)
    said = sum(len(say.text) for say in words)
    return _come_back(words, replace(sealed, said=said, since=clock.now()), desk)


def _come_back(words: tuple[Action, ...], sealed: Sealed, desk: Desk) -> CallReply:
    return CallReply((*words, patience.COME_BACK), desk.sealed(sealed))


def _turn(facts: CarrierFacts, sealed: Sealed, models: Models) -> Generator[Clause, None, Outcome]:
    if facts.kind == "keys":
        return flow.dtmf(sealed.ref, keys=facts.keys, models=models, after=sealed.turns)
    return flow.turn(sealed.ref, heard=facts.speech, models=models, after=sealed.turns)


def _rest(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    """What has not been said yet of an answer; one that its process lost is given anew."""
    if sealed.turns is None:
        raise BadCarrierRequest("more of what")
    found = patience.answer(sealed.ref, after=sealed.turns)
    if found is None and patience.is_over(sealed.since, now=clock.now()):
        return _spoken(facts, replace(sealed, said=0), desk)
    if found is None:
        return _come_back((), sealed, desk)
    clauses, outcome = found
    rest = [replace(clause, text=clause.text[sealed.said :].strip()) for clause in clauses]
    words = [clause for clause in rest if clause.text]
    return _reply(_with_words(words, outcome), sealed.carrier, desk)


def _leg(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    if facts.leg is None:
        raise BadCarrierRequest("a leg without its outcome")
    outcome = flow.returned(sealed.ref, leg=facts.leg, after=sealed.turns)
    return _reply(outcome, sealed.carrier, desk)


def _relayed(facts: CarrierFacts, sealed: Sealed, desk: Desk) -> CallReply:
    """Go on without the socket that has ended. What was lost with it is said, or said again."""
    if facts.handoff == relays.FAILED:
        return CallReply((HangUp(),))
    resumed = flow.resumed(sealed.ref, again=not facts.handoff)
    if isinstance(resumed, Outcome):
        return _reply(resumed, sealed.carrier, desk)
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


def _note(signed: Signed, facts: CarrierFacts) -> CallReply:
    """Keep what happened; where a schema is too old for it, it fails, and comes again."""
    if facts.kind == "progress":
        return CallReply(())
    ref = signed.sealed.ref if signed.sealed else signed.call
    if ref is None:
        return CallReply(())
    if signed.sealed is not None:
        tenants.require_supported(ref.tenant.id)
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


def _sealed(signed: Signed, facts: CarrierFacts) -> Sealed:
    if signed.sealed is None:
        raise BadCarrierRequest(f"{facts.kind} without a call")
    return replace(signed.sealed, carrier=signed.by)


def _with_words(clauses: list[Clause], outcome: Outcome) -> Outcome:
    return replace(outcome, actions=(*joined(clauses), *outcome.actions))


def _reply(outcome: Outcome, carrier: CarrierRef | None, desk: Desk) -> CallReply:
    ends: tuple[type[Action], ...] = (HangUp, Reject)
    goes_on = not isinstance(outcome.actions[-1], ends)
    state = None
    if outcome.ref is not None and goes_on:
        state = desk.seal(outcome.ref, carrier, turns=outcome.turns)
    return CallReply(outcome.actions, state)
