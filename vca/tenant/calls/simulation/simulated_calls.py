"""Run simulated calls: start one, take a turn, settle a transfer.

A simulation plays what a caller would get: the agent, a sentence, voicemail or a forward. It dials
nobody and has no effect outside VCA.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select

from vca.conversation import speech_text
from vca.kit import clock
from vca.kit.errors import Conflict, NotFound
from vca.kit.outcome_stream import OutcomeStream, PendingOutcome
from vca.kit.web.sse import Event
from vca.registry.number_registry import service as number_registry
from vca.services import Services
from vca.telephony.providers import Carriers
from vca.telephony.types import Say
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_connection, tenant_session
from vca.tenant.calls.control.call_control import CallEnded, CallNotInProgress
from vca.tenant.calls.core import record, simulated_tokens, simulations
from vca.tenant.calls.core.call_types import CallRef, NewCall
from vca.tenant.calls.core.models import Call, Turn
from vca.tenant.calls.core.simulations import Simulation, TransferOutcome
from vca.tenant.calls.routing import input_collection
from vca.tenant.calls.routing.routing_rules import Route
from vca.tenant.calls.simulation import profile_calls, simulation_requests
from vca.tenant.calls.simulation.simulated_phone import (
    CallOutput,
    SimulatedPhone,
)
from vca.tenant.calls.simulation.simulation_requests import (
    NotAnsweredByAgent,
    ResolvedRequest,
    SimulationRequest,
)

# Routes that are not played: VCA does not answer a number or a tenant that is not in service.
_NOT_IN_SERVICE = ("number_inactive", "tenant_suspended")


class CallNotTransferring(Conflict):
    """The call is not being transferred: its last transfer is settled, or there was none."""

    code = "call-not-transferring"

    def __init__(self, status: str) -> None:
        super().__init__(f"The call is {status}; it must be transferring.")


@dataclass(frozen=True)
class SimulatedReply:
    """The state of a simulated call after a request, with what the caller got in it.

    `actions` are those of the agent's turns, and what followed that no turn has: the caller is
    forwarded, asked for a voicemail, rejected, or hung up on without an agent.
    """

    call_id: UUID
    status: str
    reply: str
    actions: tuple[Mapping[str, Any], ...]
    end_reason: str | None

    def turn_fields(self) -> dict[str, Any]:
        """Return the fields of the response to a turn."""
        return {name: value for name, value in vars(self).items() if name != "call_id"}


class SimulatedReplyStream(OutcomeStream[str, SimulatedReply]):
    """The agent's text in chunks; the outcome is the whole reply."""


@dataclass(frozen=True)
class _OpenCall:
    """A live simulated call, and the number of its turns before a request."""

    call: Call
    turns: int


def start_simulation(
    tenant: TenantRef, *, carriers: Carriers, services: Services, request: SimulationRequest
) -> SimulatedReply:
    """Start a simulated call.

    Raises NotFound for a called number that is not the tenant's, InvalidInput for other things that
    the tenant does not have, NotAnsweredByAgent or NumberNotUsable if the number or tenant is not
    in service, and LimitReached.
    """
    with tenant_session(tenant, database=services.database) as session:
        simulated_tokens.require_tokens(session, now=clock.now(), services=services)
    resolved = simulation_requests.resolve_request(tenant, request, services=services)
    if request.direction == "outbound" or request.to is None:
        return _start_profile_call(tenant, carriers, request, resolved, services=services)
    return _call_number(tenant, carriers, services, request.to, request.caller, resolved.simulation)


def _call_number(
    tenant: TenantRef,
    carriers: Carriers,
    services: Services,
    number: str,
    caller: str | None,
    simulation: Simulation,
) -> SimulatedReply:
    """Call one of the tenant's numbers through the fake carrier."""
    with public_connection(database=services.database) as connection:
        owner = number_registry.find_owner(connection, number=number)
    if owner is None or owner.tenant != tenant:
        raise NotFound
    moment = clock.now() + simulation.clock_offset
    route = explain_simulated_route(tenant, to=number, moment=moment, services=services)
    if route.decision == "refused" and route.end_reason in _NOT_IN_SERVICE:
        raise NotAnsweredByAgent(route)
    provider_call_id = uuid4().hex
    call_output = SimulatedPhone(carriers.simulator, services).place_call(
        to=number, caller=caller, provider_call_id=provider_call_id, simulation=simulation
    )
    with tenant_session(tenant, database=services.database) as session:
        known_call = record.find_call(
            session, provider_type=carriers.simulator.name, provider_call_id=provider_call_id
        )
    if known_call is None:  # the database could not record the call
        raise CallEnded
    return build_reply(CallRef(tenant, known_call[0]), call_output, services=services)


def _start_profile_call(
    tenant: TenantRef,
    carriers: Carriers,
    request: SimulationRequest,
    resolved: ResolvedRequest,
    *,
    services: Services,
) -> SimulatedReply:
    """Call somebody from the tenant's number, or call a profile without a number."""
    simulation, ref = resolved.simulation, CallRef(tenant, uuid4())
    assert simulation.profile is not None
    is_outbound = request.direction == "outbound"
    caller_number = resolved.from_number if is_outbound else request.caller
    route = profile_calls.profile_route(
        simulation.profile, "the simulation was requested with this profile"
    )
    new_call = NewCall(
        phone_number_id=request.from_phone_number_id if is_outbound else None,
        ai_profile_id=simulation.profile.ai_profile_id,
        ai_profile_version=simulation.profile.version,
        caller_number=caller_number,
        caller_id="shown" if caller_number else "withheld",
        called_number=request.to or "",
        provider_type=carriers.simulator.name,
        provider_call_id=ref.call_id.hex,
        simulated=True,
        route=route.as_dict(),
        direction=request.direction,
        call_metadata=simulation.variables,
        simulation=simulation.as_dict(),
    )
    result = profile_calls.start_call(
        ref, carriers.simulator, new_call, simulation.profile, services=services
    )
    texts = (action.text for action in result.actions if isinstance(action, Say))
    return build_reply(ref, CallOutput(speech_text.join_chunks(texts)), services=services)


def explain_simulated_route(
    tenant: TenantRef, *, services: Services, to: str, moment: datetime
) -> Route:
    """Return the route of a simulated call at `moment`, in a transaction of its own."""
    with tenant_session(tenant, database=services.database) as session:
        owner = number_registry.find_tenant_number(session, number=to)
        return input_collection.explain_route(session, owner=owner, moment=moment, simulated=True)


def stream_reply(
    tenant: TenantRef,
    *,
    carriers: Carriers,
    services: Services,
    call_id: UUID,
    text: str = "",
    keys: str = "",
) -> SimulatedReplyStream:
    """Say a text or press keys in a simulated call; return the reply as a stream.

    To interrupt the agent, close the stream: the text so far is stored. Reading it raises NotFound,
    CallEnded, CallNotInProgress during a transfer, and LimitReached.
    """
    reply = PendingOutcome[SimulatedReply]()
    phone = SimulatedPhone(carriers.simulator, services)
    return SimulatedReplyStream(
        _play_turn(phone, CallRef(tenant, call_id), text, keys, reply, services=services), reply
    )


def take_turn(
    tenant: TenantRef,
    *,
    carriers: Carriers,
    services: Services,
    call_id: UUID,
    text: str = "",
    keys: str = "",
) -> SimulatedReply:
    """Do as `stream_reply`, and return the whole reply at once."""
    return stream_reply(
        tenant, carriers=carriers, services=services, call_id=call_id, text=text, keys=keys
    ).read_outcome()


def stream_turn(
    tenant: TenantRef,
    *,
    carriers: Carriers,
    services: Services,
    call_id: UUID,
    text: str = "",
    keys: str = "",
) -> Generator[Event, None, None]:
    """Yield a `clause` event per chunk of the answer, then one `reply` event with all of it.

    Raises what `stream_reply` raises before the first event.
    """
    with stream_reply(
        tenant, carriers=carriers, services=services, call_id=call_id, text=text, keys=keys
    ) as reply_stream:
        for chunk in reply_stream:
            yield "clause", {"text": chunk}
        yield "reply", reply_stream.outcome.turn_fields()


def settle_transfer(
    tenant: TenantRef,
    *,
    carriers: Carriers,
    services: Services,
    call_id: UUID,
    transfer_outcome: TransferOutcome,
) -> SimulatedReply:
    """End the transfer of a simulated call, as if its target had answered or not.

    Raises NotFound, CallEnded and CallNotTransferring.
    """
    ref = CallRef(tenant, call_id)
    open_call = _require_open(ref, services=services)
    if open_call.call.status != "transferring":
        raise CallNotTransferring(open_call.call.status)
    phone = SimulatedPhone(carriers.simulator, services)
    call_output = phone.end_transfer(ref, simulations.LEG_OUTCOMES[transfer_outcome])
    return build_reply(ref, call_output, open_call.turns, services=services)


def build_reply(
    ref: CallRef, call_output: CallOutput, after: int = 0, *, services: Services
) -> SimulatedReply:
    """Return the state of the call, with the actions of its turns since the first `after`."""
    with tenant_session(ref.tenant, database=services.database) as session:
        call = record.get_call(session, ref.call_id)
        turn_actions = session.scalars(
            select(Turn.actions)
            .where(Turn.call_id == ref.call_id, Turn.sequence > after, Turn.speaker == "agent")
            .order_by(Turn.sequence)
        ).all()
    agent_actions = [action for actions in turn_actions for action in actions]
    actions = (*agent_actions, *_carrier_actions(call, call_output, agent_actions))
    return SimulatedReply(call.id, call.status, call_output.text, actions, call.end_reason)


def _carrier_actions(
    call: Call, call_output: CallOutput, agent_actions: list[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """Yield what the carrier does that no action of the agent says."""
    agent_kinds = {action["kind"] for action in agent_actions}
    for action in call_output.actions:
        match action["type"]:
            case "forward" if "to_fallback" not in agent_kinds:
                yield {"kind": "forward", "forward_to": action["number"]}
            case "take_voicemail":
                yield {"kind": "take_voicemail"}
            case "reject":
                yield {"kind": "reject", "end_reason": call.end_reason}
            case "hang_up" if not agent_kinds and call.end_reason != "transferred":
                yield {"kind": "hang_up", "end_reason": call.end_reason}


def _require_open(ref: CallRef, *, services: Services) -> _OpenCall:
    """Raise NotFound unless the call is a simulated one, and CallEnded if it has ended."""
    with tenant_session(ref.tenant, database=services.database) as session:
        call = record.get_call(session, ref.call_id)
        turns = session.scalar(select(func.max(Turn.sequence)).filter_by(call_id=ref.call_id))
    if not call.simulated:
        raise NotFound
    if not call.live:
        raise CallEnded
    return _OpenCall(call, turns or 0)


def _play_turn(
    phone: SimulatedPhone,
    ref: CallRef,
    text: str,
    keys: str,
    reply: PendingOutcome[SimulatedReply],
    *,
    services: Services,
) -> Generator[str, None, None]:
    """Yield the text that follows what the caller says, and set the reply.

    A caller who hears the request for a voicemail leaves it. A transfer whose outcome was requested
    with the simulation ends at once.
    """
    open_call = _require_open(ref, services=services)
    with tenant_session(ref.tenant, database=services.database) as session:
        simulated_tokens.require_tokens(session, now=clock.now(), services=services)
    if open_call.call.status != "in_progress":
        raise CallNotInProgress(open_call.call.status)
    if open_call.call.route["decision"] == "voicemail":
        call_output = phone.leave_voicemail(ref, text)
    else:
        output_stream = phone.stream_keys(ref, keys) if keys else phone.stream_say(ref, text)
        yield from output_stream
        call_output = output_stream.outcome
        outcome = Simulation.from_dict(open_call.call.simulation).transfer_outcome
        if call_output.is_transferring and outcome is not None:
            leg_output = phone.end_transfer(ref, simulations.LEG_OUTCOMES[outcome])
            if leg_output.text:
                yield leg_output.text
            texts = filter(None, (call_output.text, leg_output.text))
            call_output = replace(leg_output, text=speech_text.join_chunks(texts))
    reply.set(build_reply(ref, call_output, open_call.turns, services=services))
