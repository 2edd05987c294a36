"""Collect the values that the route of a call depends on, and explain routes."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from vca.registry.number_registry.service import Owner
from vca.services import Services
from vca.tenant.calls.core import live_usage
from vca.tenant.calls.core.call_types import InboundCall
from vca.tenant.calls.routing import number_config
from vca.tenant.calls.routing.number_config import NumberConfig
from vca.tenant.calls.routing.routing_rules import Route, RoutingInput, decide_route
from vca.tenant.settings import hours, limits
from vca.tenant.settings.limits import Limits
from vca.tenant.usage import cap
from vca.tenant.usage.cap import BudgetDecision, LiveCalls


def explain_route(
    session: Session, *, owner: Owner | None, moment: datetime, simulated: bool = False
) -> Route:
    """Return the route that a call to the number would take at `moment`. No call is made.

    `owner` is None if the number is not the tenant's. A `simulated` call is not checked against the
    spend cap, because it costs nothing.
    """
    if owner is None:
        return decide_route(RoutingInput(moment, owned=False))
    config = number_config.load_for_number(session, phone_number_id=owner.phone_number_id)
    routing_input = _collect_number_input(owner, config, moment=moment)
    if not simulated:
        budget_decision = _check_budget(session, config, live_usage.live_usage(session), moment)
        routing_input = replace(routing_input, within_spend_cap=budget_decision.allowed)
    return decide_route(routing_input)


def collect_call_input(
    session: Session,
    call: InboundCall,
    config: NumberConfig,
    live: LiveCalls,
    *,
    services: Services,
    model_available: bool,
) -> tuple[RoutingInput, int]:
    """Return the routing input of a call, and the budget that the call reserves.

    `live` are the calls before it, counted while the settings row is locked.
    """
    routing_input = _collect_number_input(
        call.owner, config, moment=call.moment, model_available=model_available
    )
    routing_input = apply_requested_profile(routing_input, call)
    if call.simulated:
        return routing_input, 0
    budget_decision = _check_budget(session, config, live, routing_input.moment)
    tenant_limits = limits.effective_limits(
        call.owner.plan_limits, config.limits, services=services
    )
    routing_input = replace(
        routing_input,
        within_concurrency_limit=live.calls < tenant_limits.concurrent_calls,
        within_token_limit=_is_within_token_limit(session, tenant_limits),
        within_spend_cap=budget_decision.allowed,
    )
    return routing_input, budget_decision.reserve


def apply_requested_profile(routing_input: RoutingInput, call: InboundCall) -> RoutingInput:
    """Return the input with the profile that a simulation names, if it names one."""
    requested = call.simulation.profile if call.simulation else None
    if requested is None:
        return routing_input
    return replace(
        routing_input,
        profile_requested=True,
        ai_profile_id=requested.ai_profile_id,
        ai_profile_version=requested.version,
    )


def _collect_number_input(
    owner: Owner, config: NumberConfig, *, moment: datetime, model_available: bool = True
) -> RoutingInput:
    number_has_hours = config.number_hours is not None
    weekly_hours = hours.parse_hours(
        config.number_hours if number_has_hours else config.tenant_hours
    )
    return RoutingInput(
        moment=moment,
        owned=True,
        tenant_status=owner.tenant_status,
        quarantined_until=owner.rests_until,
        exists=config.phone_number_id is not None,
        is_active=bool(config.is_active),
        mode=config.mode or "agent",
        forward_to=config.forward_to,
        fallback_number=config.fallback_number,
        hours=hours.state_at(weekly_hours, ZoneInfo(config.time_zone), moment),
        hours_source="number" if number_has_hours else "tenant",
        number_has_profile=config.named_profile_id is not None,
        ai_profile_id=config.ai_profile_id,
        ai_profile_version=config.version,
        has_webhook=config.decision_url is not None,
        model_available=model_available,
    )


def _check_budget(
    session: Session, config: NumberConfig, live: LiveCalls, moment: datetime
) -> BudgetDecision:
    return cap.check_budget(session, spend_cap=config.spend_cap, live=live, now=moment)


def _is_within_token_limit(session: Session, tenant_limits: Limits) -> bool:
    daily_tokens = tenant_limits.tokens_per_day
    return daily_tokens is None or live_usage.count_tokens(session, hours=24) < daily_tokens
