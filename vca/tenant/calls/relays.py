"""Calls that speak through a socket: who gets one, and what the token says that opens it.

A socket holds a thread for as long as its call lasts. So one is offered only where a slot is free;
for everybody else each turn stays a request. Whoever was refused hears no difference but the pause.
"""

from dataclasses import dataclass
from uuid import UUID

from vca.kit import crypto, log
from vca.kit.db import DatabaseFailure
from vca.registry.relay_slots import service as slots
from vca.registry.tenants import service as tenants
from vca.telephony import providers
from vca.telephony.adapter import BadCarrierRequest, TelephonyAdapter
from vca.telephony.types import (
    CallReply,
    CarrierFacts,
    CarrierRef,
    FactKind,
    Listen,
    Relay,
    Say,
)
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, lookup
from vca.tenant.calls import record, states
from vca.tenant.calls.desk import Desk
from vca.tenant.calls.refs import CallRef, carrier_of
from vca.tenant.calls.signing import Signed
from vca.tenant.telephony_accounts import carriers

ACTION = "relay"
# What we end a socket with: to go on elsewhere, because the call does something else now, or
# because we failed. It comes back as `handoff`, where the carrier brings it back.
RESUME, DONE, FAILED = "resume", "done", "failed"
_PURPOSE = "relay"
_BEGINNINGS: tuple[FactKind, ...] = ("call", "answered", "leg", "relayed")


class RelayRefused(Exception):
    """A socket is not that of a call of ours, or not any more; the reason is for our log."""


@dataclass(frozen=True)
class Admitted:
    """A socket's call, the slot that it has opened, how long a silence may last, and how many
    characters its caller is greeted with.
    """

    ref: CallRef
    slot: UUID
    silence_s: int
    greeting: int


def offered(reply: CallReply, facts: CarrierFacts, signed: Signed, desk: Desk) -> CallReply:
    """The same reply through a socket, where an agent listens, the carrier can, and one is free."""
    slot = _slot(desk) if _may_relay(reply, facts, signed.carrier, desk) else None
    if slot is None:
        return _audible(reply) if facts.kind == "relayed" else reply
    *before, listen = reply.actions
    assert isinstance(listen, Listen)
    said = before.pop() if before and isinstance(before[-1], Say) else None
    greeting = said if isinstance(said, Say) else Say("", listen.language)
    assert reply.state is not None
    relay = Relay(
        socket_url(desk, signed.by, desk.unseal(reply.state).ref),
        _token(reply, listen, greeting, slot, desk),
        greeting.text,
        greeting.language,
        greeting.voice,
    )
    return CallReply((*before, relay), reply.state)


def socket_url(desk: Desk, carrier: CarrierRef, ref: CallRef) -> str:
    """Where a carrier opens a call's socket: our public address, as one.

    On a tenant's own account it ends in a token that says so: who opens it says nothing else before
    he must be known.
    """
    held = desk.seal(ref, carrier) if carrier.account_id is not None else None
    return public_url(desk, carrier.provider_type, held)


def public_url(desk: Desk, carrier: str, held: str | None = None) -> str:
    """The URL of a carrier's sockets, with what the one that is asked for ends in."""
    url = f"{desk.callback_url(carrier)}{ACTION}".replace("http", "ws", 1)
    return f"{url}/{held}" if held is not None else url


def opener(
    desk: Desk, *, carrier: str, held: str | None
) -> tuple[TelephonyAdapter, CarrierRef] | None:
    """Who must have signed that a socket is opened whose URL ends in `held`; None: nobody could.

    Raises DatabaseFailure.
    """
    reader = providers.current().reader(carrier)
    if reader is None or reader.relay is None:
        return None
    if held is None:
        return reader, CarrierRef(carrier)
    try:
        sealed = desk.unseal(held)
    except BadCarrierRequest:
        return None
    by = sealed.carrier
    if by is None or by.provider_type != carrier:
        return None
    with enter(sealed.ref.tenant) as session:
        adapter = carriers.of_call(session, by)
    return None if adapter is None else (adapter, by)


def admit(desk: Desk, *, token: str, by: CarrierRef, provider_call_id: str) -> Admitted:
    """Open the slot that a token names, once, for the live call that it was given to.

    Raises RelayRefused, and has then written nothing; TenantUpgrading and DatabaseFailure.
    """
    admitted = _read(desk, token)
    tenants.require_supported(admitted.ref.tenant.id)
    with enter(admitted.ref.tenant) as session:
        talk = record.talk(session, admitted.ref.call_id)
    if (carrier_of(talk), talk.provider_call_id) != (by, provider_call_id):
        raise RelayRefused("the token is another call's")
    if talk.status in states.TERMINAL:
        raise RelayRefused("the call is over")
    with lookup() as connection:
        if not slots.open_once(connection, admitted.slot):
            raise RelayRefused("the token was used, or has run out")
    return admitted


def _may_relay(
    reply: CallReply, facts: CarrierFacts, adapter: TelephonyAdapter, desk: Desk
) -> bool:
    if not desk.relay_slots or adapter.relay is None or facts.unanswered:
        return False
    if facts.kind not in _BEGINNINGS or reply.state is None:
        return False
    if not isinstance(reply.actions[-1], Listen):
        return False
    return facts.kind != "relayed" or _has_gone_well(reply.state, facts, desk)


def _has_gone_well(state: str, facts: CarrierFacts, desk: Desk) -> bool:
    """Whether another socket may follow one: where nothing was said on it, it would do no better.

    A carrier that cannot reach us comes back at once, for ever.
    """
    if facts.handoff == RESUME:
        return True
    assert facts.state is not None
    before, now = desk.unseal(facts.state).turns, desk.unseal(state).turns
    return before is not None and now is not None and now > before


def _audible(reply: CallReply) -> CallReply:
    """Without the voice in which a socket would have said nothing at first."""
    said = [it for it in reply.actions if not (isinstance(it, Say) and not it.text)]
    return CallReply(tuple(said), reply.state)


def _slot(desk: Desk) -> UUID | None:
    """A slot if one is free. With the database away the caller is served all the same."""
    try:
        with lookup() as connection:
            return slots.take(connection, most=desk.relay_slots)
    except DatabaseFailure as error:
        log.get().warning("relay.no_slot", exc_info=error)
        return None


def _token(reply: CallReply, listen: Listen, greeting: Say, slot: UUID, desk: Desk) -> str:
    assert reply.state is not None
    ref = desk.unseal(reply.state).ref
    kept = [ref.tenant.id.hex, ref.call_id.hex, slot.hex, listen.silence_s, len(greeting.text)]
    return crypto.sign(desk.secret, kept, purpose=_PURPOSE)


def _read(desk: Desk, token: str) -> Admitted:
    try:
        tenant_id, call_id, slot, *lengths = crypto.unsign(desk.secret, token, purpose=_PURPOSE)
    except (crypto.BadSignature, ValueError):
        raise RelayRefused("the token is not ours") from None
    return Admitted(CallRef(TenantRef(UUID(tenant_id)), UUID(call_id)), UUID(slot), *lengths)
