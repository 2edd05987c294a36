"""Build the replies to a caller's requests, with permitted actions and the state of the call."""

from dataclasses import dataclass, replace

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
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import SpokenChunk, TurnResult, join_chunks
from vca.tenant.calls.turns import dial_orders


def prepend_speech(chunks: list[SpokenChunk], result: TurnResult) -> TurnResult:
    """Return the result with these chunks spoken before its actions."""
    return replace(result, actions=(*join_chunks(chunks), *result.actions))


@dataclass(frozen=True)
class UnsignedReply:
    """A reply whose state is not yet signed. Without a state, the carrier returns none."""

    actions: tuple[Action, ...]
    call_state: CallState | None = None

    def sign(self, services: Services) -> CallReply:
        """Return the reply for the carrier."""
        state = (
            call_tokens.sign_state(self.call_state, services=services)
            if self.call_state is not None
            else None
        )
        return CallReply(self.actions, state)


def build_reply(
    result: TurnResult,
    account: ProviderAccountRef | None,
    carrier_event: CarrierEvent,
    *,
    services: Services,
) -> UnsignedReply:
    """Return the reply to a turn. Its orders to dial are permitted now, or replaced.

    The state is valid for the call of the event.
    """
    permitted = dial_orders.permit_orders(result, services=services)
    if permitted.ref is None or isinstance(permitted.actions[-1], HangUp | Reject):
        return UnsignedReply(permitted.actions)
    call_state = CallState(
        permitted.ref,
        permitted.turns,
        account=account,
        language=_spoken_language(permitted.actions),
        provider_call_id=carrier_event.provider_call_id,
    )
    return UnsignedReply(permitted.actions, call_state)


def poll_reply(say_actions: tuple[Say, ...], call_state: CallState) -> UnsignedReply:
    """Return the reply that lets the carrier ask for the rest."""
    return UnsignedReply((*say_actions, polled_turn.POLL), call_state)


def _spoken_language(actions: tuple[Action, ...]) -> str | None:
    return next((action.language for action in actions if isinstance(action, Say | Listen)), None)
