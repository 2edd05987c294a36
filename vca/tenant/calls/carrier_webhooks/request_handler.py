"""Handle a carrier's request: authenticate it, run the call flow and render the reply.

Real carriers, simulations and the phone in the terminal all use this code path.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import psycopg2
from sqlalchemy.exc import OperationalError

from vca.conversation import transcript
from vca.kit import clock
from vca.kit.db import DatabaseFailure
from vca.observability import log
from vca.registry.tenants import service as tenants
from vca.services import Services
from vca.telephony.adapter import InvalidCarrierRequest, InvalidCarrierSignature, TelephonyAdapter
from vca.telephony.types import (
    Action,
    CallMetadata,
    CallReply,
    CarrierEvent,
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    HangUp,
)
from vca.tenancy import schema
from vca.tenancy.schema import TenantUpgrading
from vca.tenant.calls.carrier_webhooks import (
    authentication,
    fallback,
    polled_turn,
    replies,
    voice_websockets,
    voicemail,
)
from vca.tenant.calls.carrier_webhooks.authentication import AuthenticatedRequest
from vca.tenant.calls.carrier_webhooks.received_event import ReceivedEvent, receive_event
from vca.tenant.calls.carrier_webhooks.replies import UnsignedReply
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import (
    InboundCall,
    TurnResult,
    TurnStream,
    Utterance,
    join_chunks,
)
from vca.tenant.calls.core.simulations import Simulation
from vca.tenant.calls.turns import call_flow, call_start, turn_handler

# Events whose caller waits for a reply. All others are stored; if that fails, the carrier repeats
# them.
_KINDS_WITH_REPLY: tuple[CarrierEventKind, ...] = (
    "call",
    "answered",
    "speech",
    "keys",
    "more",
    "relayed",
    "leg",
    "due",
)


def handle_request(
    parser: TelephonyAdapter,
    request: CarrierRequest,
    services: Services,
    *,
    simulation: Simulation | None = None,
) -> CarrierResponse:
    """Do what a carrier's request says and return the reply in the carrier's format.

    `parser` is the adapter of the deployment's account; it parses requests of every account.
    `simulation`: the request comes from our simulated phone. Raises InvalidCarrierRequest and
    InvalidCarrierSignature, both before anything is written.
    """
    received = receive_event(parser.parse(request), services)
    callback_url = services.callback_url(parser.name)
    try:
        authenticated = (
            authentication.authenticate_simulated if simulation else authentication.authenticate
        )(parser, request, received, services=services)
    except DatabaseFailure as error:
        actions = _fallback_without_database(parser, request, received, error)
        return parser.handle(received.event, CallReply(actions), callback_url=callback_url)
    if authenticated.event.kind in _KINDS_WITH_REPLY:
        reply = voice_websockets.offer_websocket(
            _reply_to_caller(received, authenticated, services, simulation),
            authenticated,
            services,
        )
    else:
        reply = _record_event(authenticated, services=services)
    return authenticated.adapter.handle(
        authenticated.event, reply.sign(services), callback_url=callback_url
    )


@dataclass(frozen=True)
class SimulatedTurn:
    """A turn of the simulated phone: the agent's text as a stream, and how to end it."""

    text: TurnStream
    authenticated: AuthenticatedRequest
    services: Services

    def finish(self) -> CarrierResponse:
        """Return the response with the actions that follow the text, once it has been read."""
        event, adapter = self.authenticated.event, self.authenticated.adapter
        reply = replies.build_reply(
            self.text.outcome, self.authenticated.account, event, services=self.services
        )
        callback_url = self.services.callback_url(adapter.name)
        return adapter.handle(event, reply.sign(self.services), callback_url=callback_url)


def start_simulated_turn(
    simulator: TelephonyAdapter, request: CarrierRequest, services: Services
) -> SimulatedTurn:
    """Verify a request of the simulated phone and return its turn. It must contain an utterance."""
    received = receive_event(simulator.parse(request), services)
    authenticated = authentication.authenticate_simulated(
        simulator, request, received, services=services
    )
    call_state = _require_call_state(authenticated)
    text = turn_handler.handle_utterance(
        call_state.ref,
        _read_utterance(authenticated.event, call_state),
        models=services.models,
        services=services,
    )
    return SimulatedTurn(text, authenticated, services)


def _fallback_without_database(
    parser: TelephonyAdapter,
    request: CarrierRequest,
    received: ReceivedEvent,
    error: DatabaseFailure,
) -> tuple[Action, ...]:
    """Reply with a sentence although the database that knows the account is away.

    Only requests that the deployment's account signed get one. All others get an error, so that the
    carrier uses its own fallback or repeats the request.
    """
    try:
        parser.verify(request)
    except InvalidCarrierSignature:
        raise error from None
    if received.event.kind not in _KINDS_WITH_REPLY:
        raise error
    log.get_logger().error("call.not_answered", provider=parser.name, exc_info=error)
    return _apologise(received.call_state)


def _apologise(call_state: CallState | None) -> tuple[Action, ...]:
    """Return an apology in the language of the call, as far as its state is known."""
    return fallback.apology_actions(call_state.language if call_state is not None else None)


def _reply_to_caller(
    received: ReceivedEvent,
    authenticated: AuthenticatedRequest,
    services: Services,
    simulation: Simulation | None,
) -> UnsignedReply:
    """Return the reply for the caller. If the database cannot serve the call, it is a sentence.

    That is the case if the database is away or too busy, or if the server has run out of disk or
    memory. The caller never hears silence. An event that cannot be stored fails instead, and the
    carrier repeats it.
    """
    carrier_event = authenticated.event
    try:
        if carrier_event.kind == "call":
            return _handle_inbound_call(authenticated, services, simulation)
        call_state = _require_call_state(authenticated)
        if not polled_turn.runs_here(call_state.ref, after=call_state.turns):
            tenants.require_supported_schema(call_state.ref.tenant.id, services=services)
        return _HANDLERS[carrier_event.kind](carrier_event, call_state, services)
    except TenantUpgrading:
        log.get_logger().warning("call.tenant_upgrading")
        return UnsignedReply(_apologise(authenticated.call_state or received.call_state))
    except (DatabaseFailure, OperationalError, psycopg2.OperationalError) as error:
        log.get_logger().error(
            "call.not_answered", provider=authenticated.account.provider_type, exc_info=error
        )
        return UnsignedReply(_apologise(authenticated.call_state or received.call_state))


def _handle_inbound_call(
    authenticated: AuthenticatedRequest, services: Services, simulation: Simulation | None
) -> UnsignedReply:
    owner, carrier_event = authenticated.owner, authenticated.event
    if owner is None:
        return UnsignedReply(
            fallback.reject_unrouted(carrier_event.called_number, services=services)
        )
    if not schema.is_supported_revision(owner.schema_revision):
        actions = fallback.actions_during_upgrade(
            owner,
            carrier_event.called_number,
            unanswered=carrier_event.unanswered,
            services=services,
        )
        return UnsignedReply(actions)
    metadata = CallMetadata(
        tenant_id=owner.tenant.id,
        phone_number_id=owner.phone_number_id,
        caller_number=carrier_event.caller.number,
        called_number=carrier_event.called_number,
        direction="inbound",
        timestamp=clock.now(),
        call_id=carrier_event.provider_call_id,
    )
    event = authenticated.adapter.on_inbound_call(metadata)
    call = InboundCall(
        owner,
        metadata,
        carrier_event.caller,
        event,
        authenticated.account,
        carrier_event.simulated,
        simulation,
    )
    model_available = services.can_answer(simulated=carrier_event.simulated)
    return replies.build_reply(
        call_start.start_inbound_call(call, model_available=model_available, services=services),
        authenticated.account,
        carrier_event,
        services=services,
    )


def _handle_answered(
    carrier_event: CarrierEvent, call_state: CallState, services: Services
) -> UnsignedReply:
    result = call_start.start_outbound_call(
        call_state.ref, provider_call_id=carrier_event.provider_call_id, services=services
    )
    return replies.build_reply(result, call_state.account, carrier_event, services=services)


def _handle_utterance(
    carrier_event: CarrierEvent, call_state: CallState, services: Services
) -> UnsignedReply:
    utterance = _read_utterance(carrier_event, call_state)
    return _answer_utterance(utterance, carrier_event, call_state, services)


def _read_utterance(carrier_event: CarrierEvent, call_state: CallState) -> Utterance:
    is_keys = carrier_event.kind == "keys"
    text = transcript.dtmf_text(carrier_event.keys) if is_keys else carrier_event.speech
    return Utterance(text, after=call_state.turns)


def _answer_utterance(
    utterance: Utterance, carrier_event: CarrierEvent, call_state: CallState, services: Services
) -> UnsignedReply:
    """Reply with the text that is ready in time; the carrier polls for the rest."""
    partial_turn = polled_turn.start_turn(
        call_state.ref, utterance, models=services.models, services=services
    )
    if partial_turn.result is not None:
        result = replies.prepend_speech(partial_turn.chunks, partial_turn.result)
        return replies.build_reply(result, call_state.account, carrier_event, services=services)
    polling_state = polled_turn.start_polling(call_state, partial_turn.chunks, now=clock.now())
    return replies.poll_reply(join_chunks(partial_turn.chunks), polling_state)


def _handle_poll(
    carrier_event: CarrierEvent, call_state: CallState, services: Services
) -> UnsignedReply:
    """Reply with the rest of a turn's text.

    If the turn's process died, answer the utterance again.
    """
    if call_state.turns is None:
        raise InvalidCarrierRequest("a poll request without a turn")
    reply = polled_turn.wait_for_rest(call_state, after=call_state.turns, services=services)
    if reply is None and polled_turn.is_turn_lost(
        call_state.polling_since, now=clock.now(), services=services
    ):
        return _handle_utterance(carrier_event, call_state, services)
    if reply is None:
        return replies.poll_reply((), call_state)
    chunks, result = reply
    result = replies.prepend_speech(chunks, result)
    return replies.build_reply(result, call_state.account, carrier_event, services=services)


def _handle_leg_ended(
    carrier_event: CarrierEvent, call_state: CallState, services: Services
) -> UnsignedReply:
    if carrier_event.leg is None:
        raise InvalidCarrierRequest("a leg event without an outcome")
    result = call_flow.finish_transfer(
        call_state.ref, leg_outcome=carrier_event.leg, after=call_state.turns, services=services
    )
    return replies.build_reply(result, call_state.account, carrier_event, services=services)


def _handle_websocket_ended(
    carrier_event: CarrierEvent, call_state: CallState, services: Services
) -> UnsignedReply:
    """Continue without the WebSocket.

    Say what was lost with it, or what may not have been heard.
    """
    if carrier_event.handoff == voice_websockets.FAILED:
        return UnsignedReply((HangUp(),))
    return _resume_call(carrier_event, call_state, services, repeat_last=not carrier_event.handoff)


def _handle_due_dial(
    carrier_event: CarrierEvent, call_state: CallState, services: Services
) -> UnsignedReply:
    """Dial what the call's record orders: the permission of the deferred command has expired."""
    return _resume_call(carrier_event, call_state, services, repeat_last=False)


def _resume_call(
    carrier_event: CarrierEvent,
    call_state: CallState,
    services: Services,
    *,
    repeat_last: bool,
) -> UnsignedReply:
    resumption = call_flow.resume_call(call_state.ref, repeat_last=repeat_last, services=services)
    if isinstance(resumption, TurnResult):
        return replies.build_reply(resumption, call_state.account, carrier_event, services=services)
    call_state = replace(call_state, turns=resumption.utterance.after)
    return _answer_utterance(resumption.utterance, carrier_event, call_state, services)


_HANDLERS: Mapping[
    CarrierEventKind, Callable[[CarrierEvent, CallState, Services], UnsignedReply]
] = {
    "answered": _handle_answered,
    "speech": _handle_utterance,
    "keys": _handle_utterance,
    "more": _handle_poll,
    "relayed": _handle_websocket_ended,
    "leg": _handle_leg_ended,
    "due": _handle_due_dial,
}


def _record_event(authenticated: AuthenticatedRequest, *, services: Services) -> UnsignedReply:
    """Store an event. If the tenant's schema is too old, fail, so that the carrier repeats it."""
    carrier_event = authenticated.event
    if carrier_event.kind == "progress":
        return UnsignedReply(())
    ref = authenticated.call_state.ref if authenticated.call_state else authenticated.call
    if ref is None:
        return UnsignedReply(())
    if authenticated.call_state is not None:
        tenants.require_supported_schema(ref.tenant.id, services=services)
    if carrier_event.kind == "interrupted":
        call_flow.record_interruption(ref, heard_text=carrier_event.speech, services=services)
    elif carrier_event.kind == "voicemail":
        voicemail.store_voicemail(
            ref,
            recording_id=carrier_event.recording_id,
            text=carrier_event.speech,
            services=services,
        )
        return UnsignedReply((HangUp(),))
    elif carrier_event.kind == "recording":
        voicemail.schedule_recording_fetch(
            ref, recording_id=carrier_event.recording_id, services=services
        )
    elif carrier_event.event is not None:
        event = carrier_event.event
        if authenticated.account.account_id is not None:
            # The tenant has the account's secret and can sign any time, so our clock counts.
            event = replace(event, timestamp=clock.now())
        state = call_flow.apply_call_event(ref, event=event, services=services)
        polled_turn.cancel_turns_after_end(ref, state)
    return UnsignedReply(())


def _require_call_state(authenticated: AuthenticatedRequest) -> CallState:
    carrier_event = authenticated.event
    if authenticated.call_state is None:
        raise InvalidCarrierRequest(f"a {carrier_event.kind} event without a state token")
    return replace(
        authenticated.call_state,
        account=authenticated.account,
        kind="call",
        provider_call_id=carrier_event.provider_call_id,
    )
