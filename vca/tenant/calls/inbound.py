"""A carrier's request on its way through the flow, and the carrier's answer back.

The one code path of real carriers, simulations and the telephone in the terminal.
"""

from dataclasses import dataclass
from uuid import UUID

from vca.conversation.llm.models import Models
from vca.kit import clock, crypto, log
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
    HangUp,
    Reject,
)
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef, TenantUpgrading
from vca.tenancy.session import enter, lookup, public
from vca.tenant.calls import fallback, flow, record
from vca.tenant.calls.flow import CallRef, Ringing

_PURPOSE = "call"


@dataclass(frozen=True)
class Desk:
    """What answering calls needs beside the database: our seal, the models, our public address."""

    secret: str
    models: Models
    public_base_url: str = ""

    def callback_url(self, carrier: str) -> str:
        """Where a carrier's requests go, up to the action."""
        return f"{self.public_base_url}/telephony/{carrier}/"

    def seal(self, ref: CallRef) -> str:
        """The call as a token that a carrier may carry: readable, not forgeable."""
        return crypto.sign(self.secret, [ref.tenant.id.hex, ref.call_id.hex], purpose=_PURPOSE)

    def unseal(self, state: str) -> CallRef:
        """The call of a token; raises BadCarrierRequest for what `seal` did not make."""
        try:
            tenant_id, call_id = crypto.unsign(self.secret, state, purpose=_PURPOSE)
        except crypto.BadSignature:
            raise BadCarrierRequest("the state is not ours") from None
        return CallRef(TenantRef(UUID(tenant_id)), UUID(call_id))


def receive(adapter: TelephonyAdapter, request: CarrierRequest, desk: Desk) -> CarrierResponse:
    """Do what a carrier's request says and answer in the carrier's words.

    Raises BadCarrierRequest and SignatureRefused, both before anything is written.
    """
    facts = adapter.parse(request)
    adapter.verify(request)
    reply = (
        _status(adapter, facts, desk) if facts.kind == "status" else _answer(adapter, facts, desk)
    )
    return adapter.render(reply, callback_url=desk.callback_url(adapter.name))


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
        return _ring(adapter, facts, desk) if facts.kind == "call" else _speech(facts, desk)
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
    ringing = Ringing(owner, metadata, facts.caller, event, adapter.name, adapter.simulated)
    outcome = flow.begin(ringing)
    return _reply(outcome, desk)


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


def _speech(facts: CarrierFacts, desk: Desk) -> CallReply:
    if facts.state is None:
        raise BadCarrierRequest("speech without a call")
    ref = desk.unseal(facts.state)
    try:
        tenants.require_supported(ref.tenant.id)
    except TenantUpgrading:
        log.get().warning("call.tenant_upgrading", tenant_id=str(ref.tenant.id))
        return CallReply(fallback.SENTENCE)
    return _reply(flow.turn(ref, heard=facts.speech, models=desk.models), desk)


def _status(adapter: TelephonyAdapter, facts: CarrierFacts, desk: Desk) -> CallReply:
    """Keep an event; where a schema is too old for it, it fails, and its carrier sends it again."""
    ref = desk.unseal(facts.state) if facts.state else _known_call(adapter, facts)
    if ref is not None and facts.state:
        tenants.require_supported(ref.tenant.id)
    if ref is not None and facts.event is not None:
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


def _reply(outcome: flow.Outcome, desk: Desk) -> CallReply:
    ends: tuple[type[Action], ...] = (HangUp, Reject)
    goes_on = not isinstance(outcome.actions[-1], ends)
    state = desk.seal(outcome.ref) if outcome.ref and goes_on else None
    return CallReply(outcome.actions, state)
