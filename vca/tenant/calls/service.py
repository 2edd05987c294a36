"""Read calls, and explain how a call would be routed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import phone
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.number_registry import service as number_registry
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record, serializers
from vca.tenant.calls.core.models import Call, Event, Turn
from vca.tenant.calls.routing import input_collection
from vca.tenant.calls.routing.routing_rules import Route

EVENT_ORDER = (Event.timestamp, Event.position, Event.id)
_CALL_LISTING = Listing(Call, (Call.started_at, Call.id), newest_first=True)
_EVENT_LISTING = Listing(Event, EVENT_ORDER)
_TURN_LISTING = Listing(Turn, (Turn.sequence,))


def list_calls(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """Return a page of the tenant's calls, the newest first.

    The filter `caller_number` finds all spellings of the number.
    """
    if "caller_number" in filters:
        filters["caller_number__in"] = sorted(phone.twins(filters.pop("caller_number")))
    listing = _CALL_LISTING.page(session, page, filters)
    return replace(listing, items=serializers.add_recording_status(session, listing.items))


def get_call_for_api(session: Session, *, call_id: UUID) -> Any:
    """Return the call with the status of its recording; raise NotFound."""
    return serializers.add_recording_status(session, [record.get_call(session, call_id)])[0]


def list_events(session: Session, *, call_id: UUID, page: PageRequest) -> Page:
    """Return a page of a call's events in order; raise NotFound."""
    record.get_call(session, call_id)
    return _EVENT_LISTING.page(session, page, {"call_id": call_id})


def list_turns(session: Session, *, call_id: UUID, page: PageRequest) -> Page:
    """Return a page of a call's turns in order; raise NotFound."""
    record.get_call(session, call_id)
    return _TURN_LISTING.page(session, page, {"call_id": call_id})


def explain_route(session: Session, *, to: str, moment: datetime) -> Route:
    """Return the route of a call to one of the tenant's numbers. No call is made."""
    return input_collection.explain_route(
        session, owner=number_registry.find_tenant_number(session, number=to), moment=moment
    )


def load_transcript(
    tenant: TenantRef, *, services: Services, call_id: UUID
) -> tuple[Call, Sequence[Event], Sequence[Turn]]:
    """Return a call with all its events and turns. Raises NotFound."""
    with tenant_session(tenant, database=services.database) as session:
        events = select(Event).where(Event.call_id == call_id).order_by(*EVENT_ORDER)
        turns = select(Turn).where(Turn.call_id == call_id).order_by(Turn.sequence)
        return (
            record.get_call(session, call_id),
            session.scalars(events).all(),
            session.scalars(turns).all(),
        )
