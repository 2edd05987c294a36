"""Start calls: route and record inbound calls, and greet the caller."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.kit import clock, failpoints
from vca.observability import log, metrics
from vca.services import Services
from vca.telephony.adapter import InvalidCarrierRequest, InvalidCarrierSignature
from vca.telephony.types import (
    CallEvent,
    EventType,
    HangUp,
    Record,
    Say,
)
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import (
    record,
    retention,
    simulations,
    state_machine,
    turn_records,
    watchdog,
)
from vca.tenant.calls.core.call_types import (
    CallRef,
    FlowAction,
    ForwardOrder,
    InboundCall,
    NewCall,
    TurnResult,
)
from vca.tenant.calls.routing import decision_request, input_collection, number_config
from vca.tenant.calls.routing.decision_request import DecisionRequest
from vca.tenant.calls.routing.number_config import NumberConfig
from vca.tenant.calls.routing.routing_rules import (
    Route,
    RoutingInput,
    RuleResult,
    WebhookDecision,
    decide_route,
)
from vca.tenant.calls.turns import conversation_inputs, greeting
from vca.tenant.calls.turns.first_actions import first_actions


@dataclass(frozen=True)
class _RoutedCall:
    """A call whose route is decided, not yet inserted."""

    call: InboundCall
    call_id: UUID
    config: NumberConfig
    route: Route
    actions: tuple[FlowAction, ...]
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


def start_inbound_call(
    call: InboundCall, *, services: Services, model_available: bool = True
) -> TurnResult:
    """Route and record an inbound call, and return its first actions.

    Idempotent on the carrier's call id: a repeated request returns the same call and text. A call
    that no agent answers is recorded too, with the reason. `model_available`: a model may answer
    this caller.
    """
    try:
        result = _decide_and_record(call, model_available=model_available, services=services)
    except DBAPIError as error:
        # The carrier announced the same call twice at once, and the other request was first.
        if not record.is_known_call(error):
            raise
        result = _decide_and_record(call, model_available=model_available, services=services)
    log.get_logger().info("call.begun", call_id=str(result.ref.call_id) if result.ref else None)
    return result


def _decide_and_record(
    call: InboundCall, *, services: Services, model_available: bool
) -> TurnResult:
    """Return the call's first actions.

    The number's decision webhook is asked between two transactions. The route is then decided with
    the configuration and limits of the second one.
    """
    request, webhook_decision = None, None
    while isinstance(
        outcome := _route_and_record(
            call, request, webhook_decision, model_available=model_available, services=services
        ),
        DecisionRequest,
    ):
        request, webhook_decision = (
            outcome,
            decision_request.request_decision(outcome, services=services),
        )
    return outcome


def _route_and_record(
    call: InboundCall,
    request: DecisionRequest | None,
    webhook_decision: WebhookDecision | None,
    *,
    services: Services,
    model_available: bool,
) -> TurnResult | DecisionRequest:
    """Record the call, or return the decision request that must be sent first."""
    tenant = call.owner.tenant
    with tenant_session(tenant, database=services.database) as session:
        config, known_call_id, live = number_config.load_for_call(
            session,
            phone_number_id=call.owner.phone_number_id,
            provider_type=call.provider_type,
            provider_call_id=call.event.call_id,
            simulated=call.simulated,
        )
        if known_call_id is not None:
            return _repeat_start(session, call, config, known_call_id, services=services)
        routing_input, reserved_budget = input_collection.collect_call_input(
            session, call, config, live, model_available=model_available, services=services
        )
        if webhook_decision is None and decide_route(routing_input).webhook_pending:
            return _build_decision_request(call, config, services=services)
        call_id = request.call_id if request else uuid4()
        routed_call = _decide_call(
            session,
            call,
            config,
            routing_input,
            webhook_decision,
            call_id,
            reserved_budget,
            services=services,
        )
        state = _record_call(session, call, routed_call, services=services)
    failpoints.kill_if_armed("calls.ring.committed")
    _count_call(call, state)
    return TurnResult(
        CallRef(tenant, routed_call.call_id),
        routed_call.actions,
        _initial_turn_count(routed_call.route),
    )


def _record_call(
    session: Session, call: InboundCall, routed_call: _RoutedCall, *, services: Services
) -> state_machine.LifecycleState:
    """Insert the call and schedule its first check, or its purge if it has ended already."""
    events = routed_call.events
    state = state_machine.state_from_events(events)
    if call.simulation is not None:
        simulations.prepare_insertion(
            session,
            call.simulation.profile,
            stays_open=state.status not in state_machine.TERMINAL,
            now=clock.now(),
        )
    _insert_call(session, routed_call, events, state)
    if state.ended_at is not None and call.simulated:
        retention.schedule_simulation_purge(session, ended_at=state.ended_at)
    if state.status not in state_machine.TERMINAL:
        watchdog.start_watch(
            session,
            call_id=routed_call.call_id,
            now=call.metadata.timestamp,
            simulated=call.simulated,
            services=services,
        )
    return state


def start_outbound_call(ref: CallRef, *, services: Services, provider_call_id: str) -> TurnResult:
    """Greet the person who answered our call. Idempotent.

    Raises NotFound, and InvalidCarrierRequest if another call of the carrier has begun as this one.
    """
    now = clock.now()
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if call_context.has_ended or turn_records.list_turns(session, ref.call_id):
            if call_context.provider_call_id not in (None, provider_call_id):
                raise InvalidCarrierRequest("the state belongs to another call")
            return _repeat_greeting(session, ref)
        if call_context.provider_call_id != provider_call_id:
            record.set_provider_call_id(session, ref.call_id, provider_call_id=provider_call_id)
        event = CallEvent("ANSWERED", provider_call_id, now, "own-ANSWERED")
        record.apply_event(session, ref.call_id, event, services=services)
        call_now = call_context.simulation.call_time(now)
        text, actions = greeting.build_greeting(
            call_context.agent,
            facts=conversation_inputs.to_call_facts(call_context, now=call_now),
            texts=call_context.texts,
            now=call_now.astimezone(ZoneInfo(call_context.time_zone)),
        )
        turn_records.insert_turn(
            session, ref.call_id, sequence=1, speaker="agent", text=text, started_at=now
        )
        if Record() in actions and not call_context.simulated:
            record.update_call(session, ref.call_id, recording_status="recording")
    failpoints.kill_if_armed("calls.answered.committed")
    return TurnResult(ref, actions, 1)


def _build_decision_request(
    call: InboundCall, config: NumberConfig, *, services: Services
) -> DecisionRequest:
    metadata, tenant = call.metadata, call.owner.tenant
    return decision_request.build_request(
        config,
        tenant_id=tenant.id,
        called_number=metadata.called_number,
        caller=call.caller,
        simulated=call.simulated,
        sent_at=clock.now(),
        services=services,
    )


def _decide_call(
    session: Session,
    call: InboundCall,
    config: NumberConfig,
    routing_input: RoutingInput,
    webhook_decision: WebhookDecision | None,
    call_id: UUID,
    reserved_budget: int,
    *,
    services: Services,
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
        routing_input = input_collection.apply_requested_profile(routing_input, call)
    route = decide_route(routing_input)
    variables = {
        **(webhook_decision.variables if webhook_decision else {}),
        **(call.simulation.variables if call.simulation else {}),
    }
    actions = first_actions(session, call, config, route, call_id, variables, services=services)
    if route.decision == "forward" and not isinstance(actions[-1], ForwardOrder):
        reason = "that number may not be dialled"
        if webhook_decision is not None and webhook_decision.action == "forward":
            rejected_decision = webhook_decision.rejected(reason)
            return _decide_call(
                session,
                call,
                config,
                routing_input,
                rejected_decision,
                call_id,
                reserved_budget,
                services=services,
            )
        steps = (*route.steps, RuleResult("dialling", "decided", reason))
        route = replace(route, steps=steps, end_reason="declined")
    return _RoutedCall(call, call_id, config, route, actions, variables, reserved_budget)


def _insert_call(
    session: Session,
    routed_call: _RoutedCall,
    events: Sequence[CallEvent],
    state: state_machine.LifecycleState,
) -> None:
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
        simulation=call.simulation.as_dict() if call.simulation else None,
        call_metadata=routed_call.variables,
        reserved=routed_call.reserved_budget,
    )
    greeting_text = _greeting_text(routed_call.actions) if route.decision == "agent" else ""
    record.insert_call(
        session, routed_call.call_id, new_call, events, state, greeting=greeting_text
    )


def _recording_status(routed_call: _RoutedCall) -> str | None:
    """Return `recording` or None. A simulated call has no audio to fetch."""
    is_recorded = Record() in routed_call.actions and not routed_call.call.simulated
    return "recording" if is_recorded else None


def _repeat_start(
    session: Session, call: InboundCall, config: NumberConfig, call_id: UUID, *, services: Services
) -> TurnResult:
    """Return the same answer again: the carrier repeated its request because it lost the first one.

    Raises InvalidCarrierSignature if the call belongs to another account than this request.
    """
    ref = CallRef(call.owner.tenant, call_id)
    if record.provider_of(session, ref.call_id) != call.account:
        raise InvalidCarrierSignature("the call is with another account")
    stored_route = number_config.load_route(session, ref.call_id)
    if stored_route.decision == "agent":
        return _repeat_greeting(session, ref)
    actions = first_actions(
        session, call, config, stored_route, ref.call_id, {}, repeated=True, services=services
    )
    return TurnResult(ref, actions, _initial_turn_count(stored_route))


def _repeat_greeting(session: Session, ref: CallRef) -> TurnResult:
    """Return the greeting again, or hang up if the call or its turns are gone."""
    call_context = record.lock_call_context(session, ref.call_id)
    turns = turn_records.list_turns(session, ref.call_id)
    if call_context.has_ended or not turns:
        return TurnResult(ref, (HangUp(),))
    return TurnResult(
        ref,
        greeting.greeting_actions(call_context.agent, turns[0].text, call_context.texts),
        len(turns),
    )


def _initial_turn_count(route: Route) -> int | None:
    """Return how many turns a call has at its start, or None if no more input is expected."""
    return {"agent": 1, "voicemail": 0}.get(route.decision)


def _greeting_text(actions: Sequence[FlowAction]) -> str:
    return " ".join(action.text for action in actions if isinstance(action, Say))


def _count_call(call: InboundCall, state: state_machine.LifecycleState) -> None:
    labels = {"carrier": call.provider_type, "simulated": call.simulated}
    metrics.CALLS_BEGUN.inc(direction="inbound", **labels)
    if state.status in state_machine.TERMINAL:
        metrics.CALLS_ENDED.inc(end_reason=state.end_reason, **labels)
