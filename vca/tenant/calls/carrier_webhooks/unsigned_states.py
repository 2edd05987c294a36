"""Find the call of an unsigned state, which the previous release gave to a carrier.

Anybody may have made such a state. It is valid only for a few minutes after the deployment, only if
it contains a token that VCA has signed, and only for the call of the request. It cannot control
another call or dial a number that the call had no permission to dial.
"""

from dataclasses import dataclass

from vca.registry import unsigned_states
from vca.services import Services
from vca.telephony.types import CarrierEvent
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks.received_event import ReceivedEvent
from vca.tenant.calls.core import outbound_legs, record
from vca.tenant.calls.core.call_tokens import KINDS_OF_PLACED_CALL, CallState
from vca.tenant.calls.core.call_types import CallRef


@dataclass(frozen=True)
class AcceptedState:
    """The event with its unsigned state, and the call of the state. None: it needs no call."""

    event: CarrierEvent
    call_state: CallState | None = None


def find_accepted(received: ReceivedEvent, *, services: Services) -> AcceptedState | None:
    """Return the event with its unsigned state, or None if it has none that is accepted.

    Raises DatabaseFailure.
    """
    candidate = received.unsigned or received
    event, call_state = candidate.event, candidate.call_state
    if call_state is not None and call_state.kind is not None:  # a token that is bound to a call
        call_state = candidate.own_state
    if candidate is received and (call_state is None or call_state.kind is not None):
        return None
    if call_state is None:
        needs_no_call = event.kind == "call" or _hangs_up_own_call(event, received.event)
        is_accepted = needs_no_call and unsigned_states.are_accepted(services=services)
        return AcceptedState(event) if is_accepted else None
    is_accepted = unsigned_states.are_accepted(services=services) and _belongs_to_call(
        event, call_state.ref, services=services
    )
    return AcceptedState(event, call_state) if is_accepted else None


def _hangs_up_own_call(event: CarrierEvent, carrier_event: CarrierEvent) -> bool:
    """Return whether the event's only effect is the end of the very call that has sent it."""
    is_own_call = event.provider_call_id == carrier_event.provider_call_id
    return event.state is None and is_own_call and event.deferred_actions == ("hangup",)


def _belongs_to_call(event: CarrierEvent, ref: CallRef, *, services: Services) -> bool:
    """Return whether the event is one of this call, and dials only what the call has dialled."""
    with tenant_session(ref.tenant, database=services.database) as session:
        provider_call_id = record.find_provider_call_id(session, ref.call_id)
        if provider_call_id is None and event.kind not in KINDS_OF_PLACED_CALL:
            return False
        return provider_call_id in (None, event.provider_call_id) and all(
            outbound_legs.was_dialled(session, number, call_id=ref.call_id)
            for number in event.deferred_numbers
        )
