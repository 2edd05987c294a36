"""Simulated calls that begin with a given profile and need no route.

They are replays, outbound calls, and calls to a profile without a number.
"""

from vca.kit import clock
from vca.observability import metrics
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.types import CallEvent, CallMetadata
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record, simulations, state_machine, watchdog
from vca.tenant.calls.core.call_types import CallRef, NewCall, TurnResult
from vca.tenant.calls.core.simulations import RequestedProfile
from vca.tenant.calls.routing.routing_rules import Route, RuleResult
from vca.tenant.calls.turns import call_start


def profile_route(requested: RequestedProfile, why: str) -> Route:
    """Return the route of a call that was requested with a profile."""
    return Route(
        "agent",
        (RuleResult("profile", "decided", why),),
        ai_profile_id=requested.ai_profile_id,
        ai_profile_version=requested.version,
    )


def start_call(
    ref: CallRef,
    simulator: TelephonyAdapter,
    new_call: NewCall,
    profile: RequestedProfile,
    *,
    services: Services,
    limited: bool = True,
) -> TurnResult:
    """Record a simulated call that is answered at once, and return the greeting.

    The carrier's id of the call is its id. `limited`: it counts against the tenant's open
    simulations. Raises LimitReached, and InvalidInput if the profile's version was deleted.
    """
    now = clock.now()
    events = [_first_event(ref, simulator, new_call)]
    state = state_machine.state_from_events(events)
    with tenant_session(ref.tenant, database=services.database) as session:
        simulations.prepare_insertion(session, profile, stays_open=limited, now=now)
        record.insert_call(session, ref.call_id, new_call, events, state, greeting="")
        watchdog.start_watch(
            session, call_id=ref.call_id, now=now, simulated=True, services=services
        )
    metrics.CALLS_BEGUN.inc(
        direction=new_call.direction, carrier=simulator.name, simulated=new_call.simulated
    )
    return call_start.start_outbound_call(
        ref, provider_call_id=new_call.provider_call_id, services=services
    )


def _first_event(ref: CallRef, simulator: TelephonyAdapter, new_call: NewCall) -> CallEvent:
    """Return that an inbound call rings, or that an outbound call was placed."""
    now = clock.now()
    if new_call.direction == "outbound":
        return CallEvent("INITIATED", new_call.provider_call_id, now, "own-INITIATED")
    metadata = CallMetadata(
        tenant_id=ref.tenant.id,
        phone_number_id=new_call.phone_number_id,
        caller_number=new_call.caller_number,
        called_number=new_call.called_number,
        direction="inbound",
        timestamp=now,
        call_id=new_call.provider_call_id,
    )
    return simulator.on_inbound_call(metadata)
