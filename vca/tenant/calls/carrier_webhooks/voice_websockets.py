"""Offer voice WebSockets to calls, and verify the tokens that open them.

A WebSocket occupies a thread for the whole call, so one is offered only if a slot is free. Without
one each turn is an HTTP request; the caller notices nothing but longer pauses.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from vca.kit import clock, crypto
from vca.kit.db import DatabaseFailure
from vca.kit.deadline import Deadline
from vca.observability import log
from vca.registry import unsigned_states
from vca.registry.relay_slots import service as slots
from vca.registry.tenants import service as tenants
from vca.services import Services
from vca.telephony.adapter import InvalidCarrierRequest, TelephonyAdapter
from vca.telephony.turn_settings import SpokenLanguage
from vca.telephony.types import (
    CarrierEventKind,
    Listen,
    ProviderAccountRef,
    Relay,
    Say,
)
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_connection, tenant_session
from vca.tenant.calls.carrier_webhooks.authentication import AuthenticatedRequest
from vca.tenant.calls.carrier_webhooks.replies import UnsignedReply
from vca.tenant.calls.core import call_tokens, record
from vca.tenant.calls.core.call_tokens import CallState, WebSocketClaims
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.telephony_accounts import adapter_lookup

ACTION = "relay"
# Why we close a WebSocket: the call continues in another process, it does something that needs no
# WebSocket, or we failed. Carriers that can return it do so as `handoff`.
RESUME, DONE, FAILED = "resume", "done", "failed"
_PURPOSE = "relay"
# How long a carrier may take to use the URL for the first time.
URL_LIFETIME = timedelta(seconds=60)
# How long a new connection waits for the process of the lost one.
REPLACEMENT_TIMEOUT_S = 1.0
_POLL_INTERVAL_S = 0.05
_OFFER_KINDS: tuple[CarrierEventKind, ...] = ("call", "answered", "leg", "relayed")


class WebSocketRejected(Exception):
    """The WebSocket does not belong to a live call. The reason is for our log only."""


class NoFreeSlot(Exception):
    """The call is live, but no slot is left for the carrier's new connection."""


@dataclass(frozen=True)
class _Token:
    """The content of a token: a call, the slot that was acquired for it, and two lengths."""

    ref: CallRef
    slot: UUID
    silence_s: int
    greeting_chars: int


@dataclass(frozen=True)
class AcceptedWebSocket:
    """An open WebSocket's call and slot.

    `silence_s` is the silence timeout. `greeting_chars` is the length of the text that the carrier
    speaks when it opens the WebSocket. `is_reconnected`: the carrier has lost an earlier connection
    of this WebSocket. The call uses `language`, and may change to one of `languages`. `apology` is
    what to say after a failure.
    """

    ref: CallRef
    slot: UUID
    silence_s: int
    greeting_chars: int
    is_reconnected: bool
    language: SpokenLanguage
    languages: tuple[SpokenLanguage, ...]
    apology: str


@dataclass(frozen=True)
class Handshake:
    """A request to open a WebSocket: the account that it must be from, and its URL's token.

    `claims` is None for a URL of the previous release.
    """

    adapter: TelephonyAdapter
    account: ProviderAccountRef
    claims: WebSocketClaims | None

    @property
    def reconnects(self) -> bool:
        """Whether the carrier replaces a lost connection; it signs its handshakes then."""
        websocket_format = self.adapter.websocket_format
        return websocket_format is not None and websocket_format.reconnects

    def is_for(self, ref: CallRef, slot: UUID) -> bool:
        """Return whether the URL was made for this call's WebSocket."""
        return self.claims is None or (self.claims.ref, self.claims.slot) == (ref, slot)


def offer_websocket(
    reply: UnsignedReply, authenticated: AuthenticatedRequest, services: Services
) -> UnsignedReply:
    """Return the reply through a WebSocket if the carrier supports it and a slot is free.

    Any other reply, and one after which the agent does not listen, is returned as it is.
    """
    slot = _acquire_slot(services) if _can_offer(reply, authenticated, services) else None
    if slot is None:
        was_relayed = authenticated.event.kind == "relayed"
        return _without_silent_says(reply) if was_relayed else reply
    *earlier_actions, listen = reply.actions
    assert isinstance(listen, Listen)
    last_say = (
        earlier_actions.pop() if earlier_actions and isinstance(earlier_actions[-1], Say) else None
    )
    greeting = last_say if isinstance(last_say, Say) else Say("", listen.language)
    assert reply.call_state is not None
    ref = reply.call_state.ref
    token = _Token(ref, slot, listen.silence_s, len(greeting.text))
    relay = Relay(
        call_websocket_url(services, authenticated.account, ref, slot),
        _sign_token(services, token),
        greeting.text,
        greeting.language,
        greeting.voice,
        listen.turn,
    )
    return replace(reply, actions=(*earlier_actions, relay))


def call_websocket_url(
    services: Services, account: ProviderAccountRef, ref: CallRef, slot: UUID
) -> str:
    """Return the WebSocket URL of a call under our public address.

    It ends in a token for this call only. So a handshake without one is refused before it is
    answered, and the token says which account must have sent the handshake.
    """
    claims = WebSocketClaims(ref, account, slot, clock.now() + URL_LIFETIME)
    return websocket_url(
        services, account.provider_type, call_tokens.sign_websocket(claims, services=services)
    )


def websocket_url(services: Services, carrier_name: str, url_token: str | None) -> str:
    """Return a carrier's WebSocket URL, with the token at its end if there is one."""
    url = f"{services.callback_url(carrier_name)}{ACTION}".replace("http", "ws", 1)
    return f"{url}/{url_token}" if url_token is not None else url


def read_handshake(
    services: Services, *, carrier_name: str, url_token: str | None
) -> Handshake | None:
    """Return the call that the URL of a handshake names, or None if VCA did not create the URL.

    Needs the database only for a valid token of a tenant's account. Raises DatabaseFailure.
    """
    adapter_class = services.carriers.adapter_class(carrier_name)
    if adapter_class is None or adapter_class.websocket_format is None:
        return None
    claims, ref, account = None, None, ProviderAccountRef(carrier_name)
    if url_token is None:
        # The URL of the previous release, for a carrier that signs its handshakes.
        if not adapter_class.websocket_format.reconnects:
            return None
    else:
        try:
            content = call_tokens.verify_token(url_token, services=services)
        except InvalidCarrierRequest:
            return None
        if isinstance(content, WebSocketClaims):
            claims = content
        elif content.kind is not None:
            return None
        if content.account is None:
            return None
        ref, account = content.ref, content.account
    if account.provider_type != carrier_name:
        return None
    adapter = _find_adapter(account, ref, services=services)
    return Handshake(adapter, account, claims) if adapter is not None else None


def is_admissible(handshake: Handshake, *, services: Services) -> bool:
    """Return whether a WebSocket may open with this URL. Verify the carrier's signature first.

    A carrier that reconnects uses the URL again, as long as the call has had no later one. The URLs
    of the previous release are accepted for a few minutes. Raises DatabaseFailure.
    """
    if handshake.claims is None:
        return unsigned_states.are_accepted(services=services)
    if clock.now() <= handshake.claims.expires_at:
        return True
    if not handshake.reconnects:
        return False
    with tenant_session(handshake.claims.ref.tenant, database=services.database) as session:
        offer = record.find_websocket_offer(session, handshake.claims.ref.call_id)
    return offer == handshake.claims.slot


def _find_adapter(
    account: ProviderAccountRef, ref: CallRef | None, *, services: Services
) -> TelephonyAdapter | None:
    if account.account_id is None or ref is None:
        return services.carriers.adapter(account.provider_type)
    with tenant_session(ref.tenant, database=services.database) as session:
        return adapter_lookup.adapter_for_call(session, account, services=services)


def accept_websocket(
    services: Services,
    handshake: Handshake,
    *,
    token: str,
    provider_call_id: str,
) -> AcceptedWebSocket:
    """Use the token's slot for the live call that it was issued for.

    `token` is that of the first frame. It opens one WebSocket. If the carrier reconnects, the token
    of the call's last WebSocket also opens the connections that replace a lost one, with a new slot
    each.

    Raises WebSocketRejected, and then has written nothing, NoFreeSlot, TenantUpgrading and
    DatabaseFailure.
    """
    claims = _verify_token(services, token)
    if not handshake.is_for(claims.ref, claims.slot):
        raise WebSocketRejected("the token is not the one of the URL")
    tenants.require_supported_schema(claims.ref.tenant.id, services=services)
    with tenant_session(claims.ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, claims.ref.call_id)
    websocket = call_context.websocket
    own_call = (call_context.account, call_context.provider_call_id)
    if own_call != (handshake.account, provider_call_id):
        raise WebSocketRejected("the token belongs to another call")
    if call_context.has_ended:
        raise WebSocketRejected("the call has ended")
    with public_connection(database=services.database) as connection:
        is_first = slots.open_once(connection, claims.slot)
    replaced = None
    if not is_first:
        replaced, is_current = websocket.current, websocket.offer == claims.slot
        if replaced is None or not (handshake.reconnects and is_current):
            raise WebSocketRejected("the token was used or has expired")
    slot = claims.slot if replaced is None else _replace_slot(services, replaced)
    _store_connection(claims, slot, replaced=replaced, services=services)
    profile = call_context.agent
    return AcceptedWebSocket(
        claims.ref,
        slot,
        claims.silence_s,
        claims.greeting_chars,
        is_reconnected=not is_first,
        language=profile.current_language,
        languages=profile.languages,
        apology=call_context.texts.sentence("fallback", profile.language),
    )


def _replace_slot(services: Services, old_slot: UUID) -> UUID:
    """Return an open slot for a connection that replaces another one. Raises NoFreeSlot.

    The process of the old connection releases its slot after it has stored what the caller said
    last. One that has died, or has not noticed the end of the connection, is not waited for longer.
    """
    Deadline.after(REPLACEMENT_TIMEOUT_S).wait_until(
        lambda: not _is_open(old_slot, services=services), poll_interval_s=_POLL_INTERVAL_S
    )
    with public_connection(database=services.database) as connection:
        slots.release_slot(connection, old_slot)
        slot = slots.acquire_slot(connection, max_slots=services.settings.relay_slots)
        if slot is None or not slots.open_once(connection, slot):
            raise NoFreeSlot
    return slot


def _is_open(slot: UUID, *, services: Services) -> bool:
    with public_connection(database=services.database) as connection:
        return slots.renew(connection, slot)


def _store_connection(
    claims: _Token, slot: UUID, *, services: Services, replaced: UUID | None
) -> None:
    """Store which connection the call uses. Raises WebSocketRejected if another one was faster."""
    with tenant_session(claims.ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, claims.ref.call_id)
        is_expected = replaced is None or call_context.websocket.current == replaced
        if is_expected:
            record.update_call(
                session, claims.ref.call_id, websocket_offer=claims.slot, websocket_slot=slot
            )
    if not is_expected:
        with public_connection(database=services.database) as connection:
            slots.release_slot(connection, slot)
        raise WebSocketRejected("another connection has replaced the lost one")


def _can_offer(
    reply: UnsignedReply, authenticated: AuthenticatedRequest, services: Services
) -> bool:
    carrier_event, adapter = authenticated.event, authenticated.adapter
    if (
        not services.settings.relay_slots
        or adapter.websocket_format is None
        or carrier_event.unanswered
    ):
        return False
    if carrier_event.kind not in _OFFER_KINDS or reply.call_state is None:
        return False
    if not isinstance(reply.actions[-1], Listen):
        return False
    return carrier_event.kind != "relayed" or _made_progress(authenticated, reply.call_state)


def _made_progress(authenticated: AuthenticatedRequest, call_state: CallState) -> bool:
    """Return whether another WebSocket may follow: only if there was a turn on the last one.

    A carrier that cannot reach us would otherwise try again at once, without end.
    """
    if authenticated.event.handoff == RESUME:
        return True
    assert authenticated.call_state is not None
    turns_before, turns_now = authenticated.call_state.turns, call_state.turns
    return turns_before is not None and turns_now is not None and turns_now > turns_before


def _without_silent_says(reply: UnsignedReply) -> UnsignedReply:
    """Remove empty Say actions, which only tell a WebSocket its language and voice."""
    actions = [
        action for action in reply.actions if not (isinstance(action, Say) and not action.text)
    ]
    return replace(reply, actions=tuple(actions))


def _acquire_slot(services: Services) -> UUID | None:
    """Return a slot, or None if none is free or the database is away.

    The call goes on without one.
    """
    try:
        with public_connection(database=services.database) as connection:
            return slots.acquire_slot(connection, max_slots=services.settings.relay_slots)
    except DatabaseFailure as error:
        log.get_logger().warning("relay.no_slot", exc_info=error)
        return None


def _sign_token(services: Services, token: _Token) -> str:
    ref = token.ref
    ids = (ref.tenant.id.hex, ref.call_id.hex, token.slot.hex)
    values = [*ids, token.silence_s, token.greeting_chars]
    return crypto.sign(services.settings.secret_key, values, purpose=_PURPOSE)


def _verify_token(services: Services, token: str) -> _Token:
    try:
        tenant_id, call_id, slot, *lengths = crypto.unsign(
            services.settings.secret_key, token, purpose=_PURPOSE
        )
    except (crypto.BadSignature, ValueError):
        raise WebSocketRejected("the token is not valid") from None
    return _Token(CallRef(TenantRef(UUID(tenant_id)), UUID(call_id)), UUID(slot), *lengths)
