"""Build the replies to a caller's requests, with permitted actions and a state token."""

from dataclasses import replace

from vca.services import Services
from vca.telephony.types import (
    Action,
    CallReply,
    CarrierEvent,
    HangUp,
    Listen,
    ProviderAccountRef,
    Reject,
    Say,
)
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_services import CallState
from vca.tenant.calls.core.call_types import SpokenChunk, TurnResult, join_chunks
from vca.tenant.calls.turns import dial_orders


def prepend_speech(chunks: list[SpokenChunk], result: TurnResult) -> TurnResult:
    """Return the result with these chunks spoken before its actions."""
    return replace(result, actions=(*join_chunks(chunks), *result.actions))


def build_reply(
    result: TurnResult,
    account: ProviderAccountRef | None,
    carrier_event: CarrierEvent,
    services: Services,
) -> CallReply:
    """Return the reply to a turn. Its orders to dial are permitted now, or replaced.

    The state token is valid for the call of the event.
    """
    permitted = dial_orders.permit_orders(result, services=services)
    continues = not isinstance(permitted.actions[-1], HangUp | Reject)
    state_token = None
    if permitted.ref is not None and continues:
        state_token = call_services.sign_state(
            services,
            permitted.ref,
            account,
            provider_call_id=carrier_event.provider_call_id,
            turns=permitted.turns,
            language=_spoken_language(permitted.actions),
        )
    return CallReply(permitted.actions, state_token)


def poll_reply(
    say_actions: tuple[Say, ...], call_state: CallState, services: Services
) -> CallReply:
    """Return the reply that lets the carrier ask for the rest."""
    return CallReply(
        (*say_actions, polled_turn.POLL), call_services.sign_full_state(services, call_state)
    )


def _spoken_language(actions: tuple[Action, ...]) -> str | None:
    return next((action.language for action in actions if isinstance(action, Say | Listen)), None)
