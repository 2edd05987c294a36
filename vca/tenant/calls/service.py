"""Read calls, explain routes, and run simulated calls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit import clock
from vca.kit.errors import Conflict, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.number_registry import service as number_registry
from vca.telephony.providers import Carriers
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_connection, tenant_session
from vca.tenant.calls.control.call_control import CallEnded
from vca.tenant.calls.core import record, serializers
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.models import Call, Event, Turn
from vca.tenant.calls.routing import input_collection, number_config
from vca.tenant.calls.routing.routing_rules import Route
from vca.tenant.calls.simulation.simulated_phone import CallOutput, SimulatedPhone

EVENT_ORDER = (Event.timestamp, Event.position, Event.id)
_CALL_LISTING = Listing(Call, (Call.started_at, Call.id), newest_first=True)
_EVENT_LISTING = Listing(Event, EVENT_ORDER)
_TURN_LISTING = Listing(Turn, (Turn.sequence,))


class NotAnsweredByAgent(Conflict):
    """No agent would answer the number.

    The message contains the reason and the route's end reason.
    """

    code = "not-answered-by-agent"

    def __init__(self, route: Route) -> None:
        last_step = route.steps[-1]
        super().__init__(f"No agent would answer: {last_step.why} ({route.end_reason}).")


def get_call(session: Session, *, call_id: UUID) -> Call:
    """Return the call; raise NotFound."""
    call = session.get(Call, call_id)
    if call is None:
        raise NotFound
    return call


def list_calls(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """Return a page of the tenant's calls, the newest first."""
    listing = _CALL_LISTING.page(session, page, filters)
    return replace(listing, items=serializers.add_recording_status(session, listing.items))


def get_call_for_api(session: Session, *, call_id: UUID) -> Any:
    """Return the call with the status of its recording; raise NotFound."""
    return serializers.add_recording_status(session, [get_call(session, call_id=call_id)])[0]


def list_events(session: Session, *, call_id: UUID, page: PageRequest) -> Page:
    """Return a page of a call's events in order; raise NotFound."""
    get_call(session, call_id=call_id)
    return _EVENT_LISTING.page(session, page, {"call_id": call_id})


def list_turns(session: Session, *, call_id: UUID, page: PageRequest) -> Page:
    """Return a page of a call's turns in order; raise NotFound."""
    get_call(session, call_id=call_id)
    return _TURN_LISTING.page(session, page, {"call_id": call_id})


def explain_route(session: Session, *, tenant: TenantRef, to: str, at: datetime) -> Route:
    """Return the route of a call to one of the tenant's numbers. No call is made."""
    return input_collection.explain_route(
        session, owner=number_registry.find_tenant_number(session, number=to), at=at
    )


def explain_simulated_route(tenant: TenantRef, *, to: str) -> Route:
    """Return the route of a simulated call now, in a transaction of its own."""
    with tenant_session(tenant) as session:
        owner = number_registry.find_tenant_number(session, number=to)
        return input_collection.explain_route(session, owner=owner, at=clock.now(), simulated=True)


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
        return get_call(session, call_id=call_id), call_output


def require_live_simulation(tenant: TenantRef, *, call_id: UUID) -> None:
    """Raise NotFound unless the call is a simulated one, and CallEnded if it has ended."""
    with tenant_session(tenant) as session:
        call = get_call(session, call_id=call_id)
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


def load_transcript(
    tenant: TenantRef, *, call_id: UUID
) -> tuple[Call, Sequence[Event], Sequence[Turn]]:
    """Return a call with all its events and turns. Raises NotFound."""
    with tenant_session(tenant) as session:
        events = select(Event).where(Event.call_id == call_id).order_by(*EVENT_ORDER)
        turns = select(Turn).where(Turn.call_id == call_id).order_by(Turn.sequence)
        return (
            get_call(session, call_id=call_id),
            session.scalars(events).all(),
            session.scalars(turns).all(),
        )
