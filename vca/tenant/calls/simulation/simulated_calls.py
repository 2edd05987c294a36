"""Run simulated calls: start one, say a text, and return or stream the agent's reply."""

from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select

from vca.kit import clock
from vca.kit.errors import Conflict, NotFound
from vca.kit.web.sse import Event
from vca.registry.number_registry import service as number_registry
from vca.telephony.providers import Carriers
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_connection, tenant_session
from vca.tenant.calls.control.call_control import CallEnded
from vca.tenant.calls.core import record
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.models import Call, Turn
from vca.tenant.calls.routing import input_collection, number_config
from vca.tenant.calls.routing.routing_rules import Route
from vca.tenant.calls.simulation import simulated_phone, stream_limit
from vca.tenant.calls.simulation.simulated_phone import CallOutput, SimulatedPhone


class NotAnsweredByAgent(Conflict):
    """No agent would answer the number.

    The message contains the reason and the route's end reason.
    """

    code = "not-answered-by-agent"

    def __init__(self, route: Route) -> None:
        last_step = route.steps[-1]
        super().__init__(f"No agent would answer: {last_step.why} ({route.end_reason}).")


def start_simulation(
    tenant: TenantRef, *, carriers: Carriers, services: CallServices, to: str, caller: str | None
) -> tuple[CallRef, CallOutput]:
    """Call one of the tenant's numbers through the fake carrier.

    Raises NotFound for a number that is not the tenant's, and NotAnsweredByAgent with the reason.
    """
    with public_connection() as connection:
        owner = number_registry.find_owner(connection, number=to)
    if owner is None or owner.tenant != tenant:
        raise NotFound
    route = explain_simulated_route(tenant, to=to)
    if route.decision != "agent" and not route.webhook_pending:
        raise NotAnsweredByAgent(route)
    phone, provider_call_id = SimulatedPhone(carriers.simulator, services), uuid4().hex
    call_output = phone.place_call(to=to, caller=caller, provider_call_id=provider_call_id)
    if not call_output.is_open:
        raise _explain_ended_call(tenant, carriers.simulator.name, provider_call_id)
    return phone.call_ref(call_output), call_output


def explain_simulated_route(tenant: TenantRef, *, to: str) -> Route:
    """Return the route of a simulated call now, in a transaction of its own."""
    with tenant_session(tenant) as session:
        owner = number_registry.find_tenant_number(session, number=to)
        return input_collection.explain_route(
            session, owner=owner, moment=clock.now(), simulated=True
        )


def _explain_ended_call(tenant: TenantRef, provider_type: str, provider_call_id: str) -> Conflict:
    """Return why a simulation ended at once: no agent answered, or there was no greeting."""
    query = {"provider_type": provider_type, "provider_call_id": provider_call_id}
    with tenant_session(tenant) as session:
        call = record.find_call(session, **query)
        route = number_config.load_route(session, call[0]) if call else None
    if route is None or route.decision == "agent":
        return CallEnded()
    return NotAnsweredByAgent(route)


def say_in_simulation(
    tenant: TenantRef, *, carriers: Carriers, services: CallServices, call_id: UUID, text: str
) -> tuple[Call, CallOutput]:
    """Say a text in a simulated call. Raises NotFound and CallEnded."""
    require_live_simulation(tenant, call_id=call_id)
    call_output = SimulatedPhone(carriers.simulator, services).say(CallRef(tenant, call_id), text)
    with tenant_session(tenant) as session:
        return record.get_call(session, call_id), call_output


def require_live_simulation(tenant: TenantRef, *, call_id: UUID) -> None:
    """Raise NotFound unless the call is a simulated one, and CallEnded if it has ended."""
    with tenant_session(tenant) as session:
        call = record.get_call(session, call_id)
    if not call.simulated:
        raise NotFound
    if not call.live:
        raise CallEnded


def list_recent_actions(tenant: TenantRef, *, call_id: UUID) -> list[Mapping[str, Any]]:
    """Return the agent's actions since the caller's last turn."""
    with tenant_session(tenant) as session:
        last_caller_turn = select(func.max(Turn.sequence)).filter_by(
            call_id=call_id, speaker="caller"
        )
        actions_since = select(Turn.actions).where(
            Turn.call_id == call_id, Turn.sequence > last_caller_turn.scalar_subquery()
        )
        return [action for actions in session.scalars(actions_since) for action in actions]


def stream_turn(
    tenant: TenantRef, *, carriers: Carriers, services: CallServices, call_id: UUID, text: str
) -> Generator[Event, None, None]:
    """Yield a `clause` event per chunk of the agent's reply, then one `reply` event with all of it.

    Raises NotFound, CallEnded and TooManyStreams before the first event.
    """
    with stream_limit.stream_slot():
        require_live_simulation(tenant, call_id=call_id)
        phone = SimulatedPhone(carriers.simulator, services)
        with closing(phone.stream_say(CallRef(tenant, call_id), text)) as output_stream:
            call_output = yield from _chunk_events(output_stream)
        with tenant_session(tenant) as session:
            call = record.get_call(session, call_id)
        yield "reply", build_reply(call, call_output)


def build_reply(call: Call, call_output: CallOutput) -> dict[str, Any]:
    """Return the agent's reply as the API returns it."""
    return {
        "status": call.status,
        "reply": call_output.text,
        "actions": simulated_phone.public_actions(call_output),
    }


def _chunk_events(
    output_stream: simulated_phone.OutputStream,
) -> Generator[Event, None, CallOutput]:
    while True:
        try:
            text = next(output_stream)
        except StopIteration as end:
            call_output: CallOutput = end.value
            return call_output
        yield "clause", {"text": text}
