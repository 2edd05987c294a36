"""Calls that speak through a socket: who gets one, and what the token says that opens it.

A socket holds a thread for as long as its call lasts. So one is offered only where a slot is free;
for everybody else each turn stays a request. Whoever was refused hears no difference but the pause.
"""

from dataclasses import dataclass
from uuid import UUID

from vca.kit import crypto
from vca.kit.db import DatabaseFailure
from vca.observability import log
from vca.registry.relay_slots import service as slots
from vca.registry.tenants import service as tenants
from vca.telephony import providers
from vca.telephony.adapter import InvalidCarrierRequest, TelephonyAdapter
from vca.telephony.types import (
    CallReply,
    CarrierEvent,
    CarrierEventKind,
    Listen,
    ProviderAccountRef,
    Relay,
    Say,
)
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_connection, tenant_session
from vca.tenant.calls.carrier_webhooks.authentication import AuthenticatedRequest
from vca.tenant.calls.core import record, state_machine
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.core.call_types import CallRef, account_of
from vca.tenant.telephony_accounts import adapter_lookup

ACTION = "relay"
# What we end a socket with: to go on elsewhere, because the call does something else now, or
# because we failed. It comes back as `handoff`, where the carrier brings it back.
RESUME, DONE, FAILED = "resume", "done", "failed"
_PURPOSE = "relay"
_OFFER_KINDS: tuple[CarrierEventKind, ...] = ("call", "answered", "leg", "relayed")


class WebSocketRejected(Exception):
    """A socket is not that of a call of ours, or not any more; the reason is for our log."""


@dataclass(frozen=True)
class AcceptedWebSocket:
    """A socket's call, the slot that it has opened, how long a silence may last, and how many
    characters its caller is greeted with.
    """

    ref: CallRef
    slot: UUID
    silence_s: int
    greeting_chars: int


def offer_websocket(
    reply: CallReply,
    carrier_event: CarrierEvent,
    authenticated: AuthenticatedRequest,
    services: CallServices,
) -> CallReply:
    """The same reply through a socket, where an agent listens, the carrier can, and one is free."""
    slot = (
        _acquire_slot(services)
        if _can_offer(reply, carrier_event, authenticated.adapter, services)
        else None
    )
    if slot is None:
        return _without_silent_says(reply) if carrier_event.kind == "relayed" else reply
    *earlier_actions, listen = reply.actions
    assert isinstance(listen, Listen)
    last_say = (
        earlier_actions.pop() if earlier_actions and isinstance(earlier_actions[-1], Say) else None
    )
    greeting = last_say if isinstance(last_say, Say) else Say("", listen.language)
    assert reply.state is not None
    relay = Relay(
        call_websocket_url(services, authenticated.account, services.verify_state(reply.state).ref),
        _sign_token(reply, listen, greeting, slot, services),
        greeting.text,
        greeting.language,
        greeting.voice,
    )
    return CallReply((*earlier_actions, relay), reply.state)


def call_websocket_url(services: CallServices, account: ProviderAccountRef, ref: CallRef) -> str:
    """Where a carrier opens a call's socket: our public address, as one.

    On a tenant's own account it ends in a token that says so: who opens it says nothing else before
    he must be known.
    """
    account_token = services.sign_state(ref, account) if account.account_id is not None else None
    return websocket_url(services, account.provider_type, account_token)


def websocket_url(
    services: CallServices, carrier_name: str, account_token: str | None = None
) -> str:
    """The URL of a carrier's sockets, with what the one that is asked for ends in."""
    url = f"{services.callback_url(carrier_name)}{ACTION}".replace("http", "ws", 1)
    return f"{url}/{account_token}" if account_token is not None else url


def expected_signer(
    services: CallServices, *, carrier_name: str, account_token: str | None
) -> tuple[TelephonyAdapter, ProviderAccountRef] | None:
    """Who must have signed that a socket is opened whose URL ends in `held`; None: nobody could.

    Raises DatabaseFailure.
    """
    parser = providers.current_carriers().parser_for(carrier_name)
    if parser is None or parser.websocket_format is None:
        return None
    if account_token is None:
        return parser, ProviderAccountRef(carrier_name)
    try:
        call_state = services.verify_state(account_token)
    except InvalidCarrierRequest:
        return None
    account = call_state.carrier
    if account is None or account.provider_type != carrier_name:
        return None
    with tenant_session(call_state.ref.tenant) as session:
        adapter = adapter_lookup.adapter_for_call(session, account)
    return None if adapter is None else (adapter, account)


def accept_websocket(
    services: CallServices, *, token: str, account: ProviderAccountRef, provider_call_id: str
) -> AcceptedWebSocket:
    """Open the slot that a token names, once, for the live call that it was given to.

    Raises RelayRefused, and has then written nothing; TenantUpgrading and DatabaseFailure.
    """
    accepted = _verify_token(services, token)
    tenants.require_supported_schema(accepted.ref.tenant.id)
    with tenant_session(accepted.ref.tenant) as session:
        call_context = record.lock_call_context(session, accepted.ref.call_id)
    if (account_of(call_context), call_context.provider_call_id) != (account, provider_call_id):
        raise WebSocketRejected("the token is another call's")
    if call_context.status in state_machine.TERMINAL:
        raise WebSocketRejected("the call is over")
    with public_connection() as connection:
        if not slots.open_once(connection, accepted.slot):
            raise WebSocketRejected("the token was used, or has run out")
    return accepted


def _can_offer(
    reply: CallReply, carrier_event: CarrierEvent, adapter: TelephonyAdapter, services: CallServices
) -> bool:
    if not services.relay_slots or adapter.websocket_format is None or carrier_event.unanswered:
        return False
    if carrier_event.kind not in _OFFER_KINDS or reply.state is None:
        return False
    if not isinstance(reply.actions[-1], Listen):
        return False
    return carrier_event.kind != "relayed" or _made_progress(reply.state, carrier_event, services)


def _made_progress(state_token: str, carrier_event: CarrierEvent, services: CallServices) -> bool:
    """Whether another socket may follow one: where nothing was said on it, it would do no better.

    A carrier that cannot reach us comes back at once, for ever.
    """
    if carrier_event.handoff == RESUME:
        return True
    assert carrier_event.state is not None
    turns_before, turns_now = (
        services.verify_state(carrier_event.state).turns,
        services.verify_state(state_token).turns,
    )
    return turns_before is not None and turns_now is not None and turns_now > turns_before


def _without_silent_says(reply: CallReply) -> CallReply:
    """Without the voice in which a socket would have said nothing at first."""
    actions = [
        action for action in reply.actions if not (isinstance(action, Say) and not action.text)
    ]
    return CallReply(tuple(actions), reply.state)


def _acquire_slot(services: CallServices) -> UUID | None:
    """A slot if one is free. With the database away the caller is served all the same."""
    try:
        with public_connection() as connection:
            return slots.acquire_slot(connection, max_slots=services.relay_slots)
    except DatabaseFailure as error:
        log.get_logger().warning("relay.no_slot", exc_info=error)
        return None


def _sign_token(
    reply: CallReply, listen: Listen, greeting: Say, slot: UUID, services: CallServices
) -> str:
    assert reply.state is not None
    ref = services.verify_state(reply.state).ref
    values = [ref.tenant.id.hex, ref.call_id.hex, slot.hex, listen.silence_s, len(greeting.text)]
    return crypto.sign(services.secret, values, purpose=_PURPOSE)


def _verify_token(services: CallServices, token: str) -> AcceptedWebSocket:
    try:
        tenant_id, call_id, slot, *lengths = crypto.unsign(services.secret, token, purpose=_PURPOSE)
    except (crypto.BadSignature, ValueError):
        raise WebSocketRejected("the token is not ours") from None
    return AcceptedWebSocket(
        CallRef(TenantRef(UUID(tenant_id)), UUID(call_id)), UUID(slot), *lengths
    )
