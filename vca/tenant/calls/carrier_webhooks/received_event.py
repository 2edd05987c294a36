"""A carrier's event with the content of its state token, which only this module verifies."""

from dataclasses import dataclass

from vca.services import Services
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import CarrierEvent
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState


@dataclass(frozen=True)
class ReceivedEvent:
    """An event whose token has been verified. The request itself need not be.

    - `call_state`: the content of the token. None: there is no token, or it is not valid.
    - `unsigned`: what the event says if the unsigned state of the previous release counts.
    """

    event: CarrierEvent
    call_state: CallState | None
    unsigned: "ReceivedEvent | None" = None

    @property
    def own_state(self) -> CallState | None:
        """The state if we made it for the call of the event, else None."""
        if self.call_state is None or not self.call_state.belongs_to(self.event):
            return None
        return self.call_state


def receive_event(event: CarrierEvent, services: Services) -> ReceivedEvent:
    """Verify the tokens of an event, each of them once."""
    unsigned = receive_event(event.unsigned, services) if event.unsigned is not None else None
    return ReceivedEvent(event, _read_token(event, services), unsigned)


def _read_token(event: CarrierEvent, services: Services) -> CallState | None:
    if event.state is None:
        return None
    try:
        return call_tokens.verify_state(event.state, services=services)
    except InvalidCarrierRequest:
        return None
