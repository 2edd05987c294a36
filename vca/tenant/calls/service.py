"""Read the record of calls, simulate one, and end a live one."""

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
from vca.registry.dids import service as dids
from vca.telephony.providers import Carriers
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, lookup
from vca.tenant.calls import opening, record, shown
from vca.tenant.calls.control import CallEnded
from vca.tenant.calls.desk import Desk
from vca.tenant.calls.models import Call, Event, Turn
from vca.tenant.calls.refs import CallRef
from vca.tenant.calls.route import Route
from vca.tenant.calls.telephone import Heard, Telephone

EVENT_ORDER = (Event.timestamp, Event.position, Event.id)
_CALLS = Listing(Call, (Call.started_at, Call.id), newest_first=True)
_EVENTS = Listing(Event, EVENT_ORDER)
_TURNS = Listing(Turn, (Turn.sequence,))


class NotAnsweredByAgent(Conflict):
    """The number would not be answered by an agent; the code is the route's reason."""

    code = "not-answered-by-agent"

    def __init__(self, route: Route) -> None:
        last = route.steps[-1]
        super().__init__(f"No agent would answer: {last.why} ({route.end_reason}).")


def get(session: Session, *, call_id: UUID) -> Call:
    """The call; raises NotFound."""
    call = session.get(Call, call_id)
    if call is None:
        raise NotFound
    return call


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """The tenant's calls, newest first."""
    found = _CALLS.page(session, page, filters)
    return replace(found, items=shown.calls(session, found.items))


def get_shown(session: Session, *, call_id: UUID) -> Any:
    """The call with what became of its recording; raises NotFound."""
    return shown.calls(session, [get(session, call_id=call_id)])[0]


def events_page(session: Session, *, call_id: UUID, page: PageRequest) -> Page:
    """What happened to a call, in order; raises NotFound."""
    get(session, call_id=call_id)
    return _EVENTS.page(session, page, {"call_id": call_id})


def turns_page(session: Session, *, call_id: UUID, page: PageRequest) -> Page:
    """What was said in a call, in order; raises NotFound."""
    get(session, call_id=call_id)
    return _TURNS.page(session, page, {"call_id": call_id})


def explain(session: Session, *, tenant: TenantRef, to: str, at: datetime) -> Route:
    """The route of a call to one of the tenant's numbers; no call is made."""
    return opening.explain(session, owner=dids.find_own(session, number=to), at=at)


def explain_now(tenant: TenantRef, *, to: str) -> Route:
    """The route of a simulated call that would ring now, in a transaction of its own."""
    with enter(tenant) as session:
        owner = dids.find_own(session, number=to)
        return opening.explain(session, owner=owner, at=clock.now(), simulated=True)


def simulate(
    tenant: TenantRef, *, carriers: Carriers, desk: Desk, to: str, caller: str | None
) -> tuple[CallRef, Heard]:
    """Ring one of the tenant's numbers through the fake carrier.

    Raises NotFound for a number that is not the tenant's, NotAnsweredByAgent with the reason.
    """
    with lookup() as connection:
        owner = dids.find_owner(connection, number=to)
    if owner is None or owner.tenant != tenant:
        raise NotFound
    route = explain_now(tenant, to=to)
    if route.decision != "agent" and not route.asks:
        raise NotAnsweredByAgent(route)
    telephone, provider_call_id = Telephone(carriers.simulator, desk), uuid4().hex
    heard = telephone.ring(to=to, caller=caller, provider_call_id=provider_call_id)
    if not heard.open:
        raise _why_over(tenant, carriers.simulator.name, provider_call_id)
    return telephone.call(heard), heard


def _why_over(tenant: TenantRef, provider_type: str, provider_call_id: str) -> Conflict:
    """Why a call that has just rung is over: no agent was to answer, or it had no words."""
    known = {"provider_type": provider_type, "provider_call_id": provider_call_id}
    with enter(tenant) as session:
        found = record.find(session, **known)
        route = record.route_of(session, found[0]) if found else None
    if route is None or route.decision == "agent":
        return CallEnded()
    return NotAnsweredByAgent(route)


def say(
    tenant: TenantRef, *, carriers: Carriers, desk: Desk, call_id: UUID, text: str
) -> tuple[Call, Heard]:
    """Speak into a simulated call. Raises NotFound and CallEnded."""
    require_open(tenant, call_id=call_id)
    heard = Telephone(carriers.simulator, desk).say(CallRef(tenant, call_id), text)
    with enter(tenant) as session:
        return get(session, call_id=call_id), heard


def require_open(tenant: TenantRef, *, call_id: UUID) -> None:
    """Raise NotFound unless the call is a simulated one, and CallEnded once it is over."""
    with enter(tenant) as session:
        call = get(session, call_id=call_id)
    if not call.simulated:
        raise NotFound
    if not call.live:
        raise CallEnded


def deeds(tenant: TenantRef, *, call_id: UUID) -> list[Mapping[str, Any]]:
    """What the agent has done, besides speaking, since the caller last spoke."""
    with enter(tenant) as session:
        asked = select(func.max(Turn.sequence)).filter_by(call_id=call_id, speaker="caller")
        since = select(Turn.actions).where(
            Turn.call_id == call_id, Turn.sequence > asked.scalar_subquery()
        )
        return [each for actions in session.scalars(since) for each in actions]


def transcript(tenant: TenantRef, *, call_id: UUID) -> tuple[Call, Sequence[Event], Sequence[Turn]]:
    """A call with all its events and turns, for the terminal. Raises NotFound."""
    with enter(tenant) as session:
        events = select(Event).where(Event.call_id == call_id).order_by(*EVENT_ORDER)
        turns = select(Turn).where(Turn.call_id == call_id).order_by(Turn.sequence)
        return (
            get(session, call_id=call_id),
            session.scalars(events).all(),
            session.scalars(turns).all(),
        )
