"""Start calls: route and record inbound calls, and greet the caller."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlalchemy.orm import Session

from vca.kit import clock, failpoints
from vca.observability import metrics
from vca.registry.number_registry.service import Owner
from vca.telephony.adapter import InvalidCarrierSignature
from vca.telephony.types import (
    Action,
    CallEvent,
    EventType,
    Forward,
    HangUp,
    Record,
    Say,
)
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record, state_machine, watchdog
from vca.tenant.calls.core.call_types import CallRef, NewCall, TurnResult
from vca.tenant.calls.routing import decision_request, number_config
from vca.tenant.calls.routing.decision_request import DecisionRequest
from vca.tenant.calls.routing.routing_rules import (
    Route,
    RoutingInput,
    RuleResult,
    WebhookDecision,
    decide_route,
)
from vca.tenant.calls.turns import greeting
from vca.tenant.calls.turns.first_actions import InboundCall, first_actions
from vca.tenant.settings import hours, limits
from vca.tenant.settings.limits import Limits
from vca.tenant.usage import cap
from vca.tenant.usage.cap import BudgetDecision, LiveCalls


class CallAlreadyRecorded(Exception):
    """The carrier announced the same call twice at once, and the other request was first."""


@dataclass(frozen=True)
class _RoutedCall:
    """A call whose route is decided, not yet inserted."""

    call: InboundCall
    call_id: UUID
    config: Row[Any]
    route: Route
    actions: tuple[Action, ...]
    variables: Mapping[str, str]
    reserved_budget: int

    @property
    def events(self) -> list[CallEvent]:
        """Return the carrier's event, and the events of our answer.

        A call that an agent or voicemail answers goes on. Every other answer ends the call at once.
        """
        inbound_event, now = self.call.event, clock.now()

        def own_event(event_type: EventType, end_reason: str | None = None) -> CallEvent:
            return CallEvent(
                event_type, inbound_event.call_id, now, f"own-{event_type}", end_reason
            )

        if self.route.decision in ("agent", "voicemail"):
            return [inbound_event, own_event("ANSWERED")]
        if self.route.decision == "refused":
            return [inbound_event, own_event("FAILED", self.route.end_reason)]
        return [inbound_event, own_event("ANSWERED"), own_event("ENDED", self.route.end_reason)]


def start_inbound(call: InboundCall, *, model_available: bool) -> TurnResult:
    """Route and record an inbound call, once per carrier id; see `call_flow.start_inbound_call`.

    The number's decision webhook is asked between two transactions. The route is then decided with
    the configuration and limits of the second one.
    """
    request, webhook_decision = None, None
    while isinstance(
        outcome := _route_and_record(
            call, request, webhook_decision, model_available=model_available
        ),
        DecisionRequest,
    ):
        request, webhook_decision = outcome, decision_request.request_decision(outcome)
    return outcome


def _route_and_record(
    call: InboundCall,
    request: DecisionRequest | None,
    webhook_decision: WebhookDecision | None,
    *,
    model_available: bool,
) -> TurnResult | DecisionRequest:
    """Record the call, or return the decision request that must be sent first."""
    tenant = call.owner.tenant
    with tenant_session(tenant) as session:
        config = number_config.load_for_call(
            session,
            phone_number_id=call.owner.phone_number_id,
            provider_type=call.provider_type,
            provider_call_id=call.event.call_id,
            simulated=call.simulated,
        )
        if config.known_call_id is not None:
            return _repeat_start(session, call, config)
        routing_input, reserved_budget = _collect_call_input(
            session, call, config, model_available=model_available
        )
        if webhook_decision is None and decide_route(routing_input).webhook_pending:
            return _build_decision_request(call, config)
        call_id = request.call_id if request else uuid4()
        routed_call = _decide_call(
            session, call, config, routing_input, webhook_decision, call_id, reserved_budget
        )
        events = routed_call.events
        state = state_machine.state_from_events(events)
        if not _insert_call(session, routed_call, events, state):
            raise CallAlreadyRecorded
        if state.status not in state_machine.TERMINAL:
            watchdog.start_watch(session, call_id=routed_call.call_id, now=call.metadata.timestamp)
    failpoints.kill_if_armed("calls.ring.committed")
    _count_call(call, state)
    return TurnResult(
        CallRef(tenant, routed_call.call_id),
        routed_call.actions,
        _initial_turn_count(routed_call.route),
    )


def explain_route(
    session: Session, *, owner: Owner | None, at: datetime, simulated: bool = False
) -> Route:
    """Return the route that a call to the number would take at `at`. No call is made.

    `owner` is None if the number is not the tenant's. A `simulated` call is not checked against the
    spend cap, because it costs nothing.
    """
    if owner is None:
        return decide_route(RoutingInput(at, owned=False))
    config = number_config.load_for_number(session, phone_number_id=owner.phone_number_id)
    routing_input = _collect_number_input(owner, config, at=at)
    if not simulated:
        budget_decision = _check_budget(session, config, record.live_usage(session), at)
        routing_input = replace(routing_input, within_spend_cap=budget_decision.allowed)
    return decide_route(routing_input)


def start_outbound(ref: CallRef, *, provider_call_id: str) -> TurnResult:
    """Greet the person who answered our call; see `call_flow.start_outbound_call`."""
    now = clock.now()
    with tenant_session(ref.tenant) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if call_context.status in state_machine.TERMINAL or record.list_turns(session, ref.call_id):
            return _repeat_greeting(session, ref)
        if call_context.provider_call_id != provider_call_id:
            record.set_provider_call_id(session, ref.call_id, provider_call_id=provider_call_id)
        event = CallEvent("ANSWERED", provider_call_id, now, "own-ANSWERED")
        record.apply_event(session, ref.call_id, event)
        text, actions = greeting.build_greeting(call_context.profile, call_context, now=now)
        record.insert_turn(session, ref.call_id, sequence=1, speaker="agent", text=text, at=now)
        if Record() in actions and not call_context.simulated:
            record.update_call(session, ref.call_id, recording_status="recording")
    failpoints.kill_if_armed("calls.answered.committed")
    return TurnResult(ref, actions, 1)


def _collect_call_input(
    session: Session, call: InboundCall, config: Row[Any], *, model_available: bool
) -> tuple[RoutingInput, int]:
    """Return the routing input of a call, and the budget that the call reserves."""
    routing_input = _collect_number_input(call.owner, config, at=call.metadata.timestamp)
    routing_input = replace(routing_input, model_available=model_available)
    if call.simulated:
        return routing_input, 0
    live = record.live_usage(session)
    budget_decision = _check_budget(session, config, live, routing_input.at)
    tenant_limits = limits.effective_limits(call.owner.plan_limits, config.limits)
    routing_input = replace(
        _check_limits(session, routing_input, tenant_limits, live),
        within_spend_cap=budget_decision.allowed,
    )
    return routing_input, budget_decision.reserve


def _build_decision_request(call: InboundCall, config: Row[Any]) -> DecisionRequest:
    metadata, tenant = call.metadata, call.owner.tenant
    return decision_request.build_request(
        config,
        tenant_id=tenant.id,
        called_number=metadata.called_number,
        caller=call.caller,
        simulated=call.simulated,
        at=clock.now(),
    )


def _decide_call(
    session: Session,
    call: InboundCall,
    config: Row[Any],
    routing_input: RoutingInput,
    webhook_decision: WebhookDecision | None,
    call_id: UUID,
    reserved_budget: int,
) -> _RoutedCall:
    if webhook_decision is not None:
        config, webhook_decision = decision_request.resolve_profile(
            session, config, webhook_decision
        )
        routing_input = replace(
            routing_input,
            webhook_decision=webhook_decision,
            ai_profile_id=config.ai_profile_id,
            ai_profile_version=config.version,
        )
    route = decide_route(routing_input)
    variables = webhook_decision.variables if webhook_decision else {}
    actions = first_actions(session, call, config, route, call_id, variables)
    if route.decision == "forward" and not isinstance(actions[-1], Forward):
        reason = "that number may not be dialled"
        if webhook_decision is not None and webhook_decision.action == "forward":
            rejected_decision = webhook_decision.rejected(reason)
            return _decide_call(
                session, call, config, routing_input, rejected_decision, call_id, reserved_budget
            )
        steps = (*route.steps, RuleResult("dialling", "decided", reason))
        route = replace(route, steps=steps, end_reason="declined")
    return _RoutedCall(call, call_id, config, route, actions, variables, reserved_budget)


def _check_budget(
    session: Session, config: Row[Any], live: LiveCalls, at: datetime
) -> BudgetDecision:
    return cap.check_budget(session, spend_cap=config.spend_cap, live=live, now=at)


def _check_limits(
    session: Session, routing_input: RoutingInput, tenant_limits: Limits, live: LiveCalls
) -> RoutingInput:
    """Check the limits.

    The settings row is locked, so simultaneous calls are counted one by one.
    """
    within_concurrency_limit = live.calls < tenant_limits.concurrent_calls
    daily_tokens = tenant_limits.tokens_per_day
    within_token_limit = (
        daily_tokens is None or record.count_tokens(session, hours=24) < daily_tokens
    )
    return replace(
        routing_input,
        within_concurrency_limit=within_concurrency_limit,
        within_token_limit=within_token_limit,
    )


def _collect_number_input(owner: Owner, config: Row[Any], *, at: datetime) -> RoutingInput:
    number_has_hours = config.number_hours is not None
    weekly_hours = hours.parse_hours(
        config.number_hours if number_has_hours else config.tenant_hours
    )
    return RoutingInput(
        at=at,
        owned=True,
        tenant_status=owner.tenant_status,
        quarantined_until=owner.rests_until,
        exists=config.phone_number_id is not None,
        is_active=bool(config.is_active),
        mode=config.mode or "agent",
        forward_to=config.forward_to,
        fallback_number=config.fallback_number,
        hours=hours.state_at(weekly_hours, ZoneInfo(config.time_zone), at),
        hours_source="number" if number_has_hours else "tenant",
        number_has_profile=config.named_profile_id is not None,
        ai_profile_id=config.ai_profile_id,
        ai_profile_version=config.version,
        has_webhook=config.decision_url is not None,
    )


def _insert_call(
    session: Session,
    routed_call: _RoutedCall,
    events: Sequence[CallEvent],
    state: state_machine.LifecycleState,
) -> bool:
    call, route = routed_call.call, routed_call.route
    new_call = NewCall(
        phone_number_id=call.metadata.phone_number_id,
        ai_profile_id=route.ai_profile_id,
        ai_profile_version=route.ai_profile_version,
        caller_number=call.caller.number,
        caller_id=call.caller.caller_id,
        called_number=call.metadata.called_number,
        provider_type=call.provider_type,
        provider_call_id=call.event.call_id,
        telephony_account_id=call.account.account_id,
        simulated=call.simulated,
        route=route.as_dict(),
        recording_status=_recording_status(routed_call),
        call_metadata=routed_call.variables,
        reserved=routed_call.reserved_budget,
    )
    greeting_text = _greeting_text(routed_call.actions) if route.decision == "agent" else ""
    return record.insert_call(
        session, routed_call.call_id, new_call, events, state, greeting=greeting_text
    )


def _recording_status(routed_call: _RoutedCall) -> str | None:
    """Return `recording` or None. A simulated call has no audio to fetch."""
    is_recorded = Record() in routed_call.actions and not routed_call.call.simulated
    return "recording" if is_recorded else None


def _repeat_start(session: Session, call: InboundCall, config: Row[Any]) -> TurnResult:
    """Return the same answer again: the carrier repeated its request because it lost the first one.

    Raises InvalidCarrierSignature if the call belongs to another account than this request.
    """
    ref = CallRef(call.owner.tenant, config.known_call_id)
    if record.provider_of(session, ref.call_id) != call.account:
        raise InvalidCarrierSignature("the call is with another account")
    stored_route = number_config.load_route(session, ref.call_id)
    if stored_route.decision == "agent":
        return _repeat_greeting(session, ref)
    actions = first_actions(session, call, config, stored_route, ref.call_id, {}, repeated=True)
    return TurnResult(ref, actions, _initial_turn_count(stored_route))


def _repeat_greeting(session: Session, ref: CallRef) -> TurnResult:
    """Return the greeting again, or hang up if the call or its turns are gone."""
    call_context = record.lock_call_context(session, ref.call_id)
    turns = record.list_turns(session, ref.call_id)
    if call_context.status in state_machine.TERMINAL or not turns:
        return TurnResult(ref, (HangUp(),))
    return TurnResult(
        ref, greeting.greeting_actions(call_context.profile, turns[0].text), len(turns)
    )


def _initial_turn_count(route: Route) -> int | None:
    """Return how many turns a call has at its start, or None if no more input is expected."""
    return {"agent": 1, "voicemail": 0}.get(route.decision)


def _greeting_text(actions: Sequence[Action]) -> str:
    return " ".join(action.text for action in actions if isinstance(action, Say))


def _count_call(call: InboundCall, state: state_machine.LifecycleState) -> None:
    labels = {"carrier": call.provider_type, "simulated": call.simulated}
    metrics.CALLS_BEGUN.inc(direction="inbound", **labels)
    if state.status in state_machine.TERMINAL:
        metrics.CALLS_ENDED.inc(end_reason=state.end_reason, **labels)
