"""Decide how a number is answered, and explain why: a pure function of plain values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from vca.tenant.settings.hours import ALWAYS_OPEN, Closed, Open

Decision = Literal["agent", "forward", "voicemail", "closed", "refused"]
RuleVerdict = Literal["passed", "decided"]
WebhookAction = Literal["answer", "reject", "forward"]
WEBHOOK_RULE = "decision webhook"
_WEBHOOK_ROUTES: Mapping[WebhookAction, tuple[Decision, str | None]] = {
    "answer": ("agent", None),
    "reject": ("refused", "declined"),
    "forward": ("forward", "transferred"),
}


@dataclass(frozen=True)
class WebhookDecision:
    """The decision of a number's webhook, and why. `action` is None if there is no usable one."""

    why: str
    action: WebhookAction | None = None
    forward_to: str | None = None
    ai_profile_id: UUID | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def rejected(self, why: str) -> "WebhookDecision":
        """Return a decision without an action, because this one cannot be followed."""
        return WebhookDecision(f"{self.why}, but {why}")


@dataclass(frozen=True)
class RoutingInput:
    """The values that the route depends on.

    - `owned`: the number belongs to this tenant.
    - `hours`: the opening hours at `moment`; `hours_source` says who set them.
    - `model_available`: there is a language model for this caller.
    - `profile_requested`: a simulation names the profile that answers.
    - `has_webhook`: the number has a decision webhook.
    - `webhook_decision`: its decision. None: it has not been asked yet.
    """

    moment: datetime
    owned: bool
    tenant_status: str = "active"
    quarantined_until: datetime | None = None
    exists: bool = True
    is_active: bool = True
    mode: str = "agent"
    forward_to: str | None = None
    fallback_number: str | None = None
    hours: Open | Closed = ALWAYS_OPEN
    hours_source: Literal["number", "tenant"] = "tenant"
    within_concurrency_limit: bool = True
    within_token_limit: bool = True
    within_spend_cap: bool = True
    model_available: bool = True
    number_has_profile: bool = False
    ai_profile_id: UUID | None = None
    ai_profile_version: int | None = None
    profile_requested: bool = False
    has_webhook: bool = False
    webhook_decision: WebhookDecision | None = None


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule: whether it decided, and why or why not."""

    rule: str
    verdict: RuleVerdict
    why: str


@dataclass(frozen=True)
class Route:
    """What happens to the call. `end_reason` is set if no agent answers.

    `webhook_pending`: the number's decision webhook must be asked before this route is final.
    """

    decision: Decision
    steps: tuple[RuleResult, ...]
    end_reason: str | None = None
    forward_to: str | None = None
    ai_profile_id: UUID | None = None
    ai_profile_version: int | None = None
    webhook_pending: bool = False

    @property
    def rejected_by_webhook(self) -> bool:
        """Return whether the number's decision webhook rejected the call."""
        return self.decision == "refused" and self.steps[-1].rule == WEBHOOK_RULE

    def as_dict(self) -> dict[str, Any]:
        """Return the route as it is stored with the call and returned by the API."""
        return {
            "decision": self.decision,
            "end_reason": self.end_reason,
            "forward_to": self.forward_to,
            "ai_profile_id": self.ai_profile_id,
            "ai_profile_version": self.ai_profile_version,
            "rules": [
                {"rule": step.rule, "verdict": step.verdict, "why": step.why} for step in self.steps
            ],
        }


def route_from_dict(stored_route: Mapping[str, Any]) -> Route:
    """Return the route that is stored with a call."""
    return Route(
        stored_route["decision"],
        tuple(RuleResult(**rule) for rule in stored_route["rules"]),
        stored_route["end_reason"],
        stored_route["forward_to"],
        stored_route["ai_profile_id"],
        stored_route["ai_profile_version"],
    )


def decide_route(routing_input: RoutingInput) -> Route:
    """Evaluate the rules in order; the first one that decides determines the route.

    If an agent or a forward would answer, the number's decision webhook is evaluated before that
    rule.
    """
    route = _apply_rules(routing_input)
    if not routing_input.has_webhook or route.decision not in ("agent", "forward"):
        return route
    if routing_input.webhook_decision is None:
        return replace(
            _apply_webhook_decision(
                routing_input, route, WebhookDecision("the webhook is asked first")
            ),
            webhook_pending=True,
        )
    return _apply_webhook_decision(routing_input, route, routing_input.webhook_decision)


def _apply_rules(routing_input: RoutingInput) -> Route:
    steps: list[RuleResult] = []
    for rule, why, decision, end_reason in _evaluate_rules(routing_input):
        steps.append(RuleResult(rule, "decided" if decision else "passed", why))
        if decision:
            return _build_route(routing_input, decision, end_reason, tuple(steps))
    raise AssertionError("the last rule always decides")


def _apply_webhook_decision(
    routing_input: RoutingInput, route: Route, webhook_decision: WebhookDecision
) -> Route:
    *earlier_steps, last_step = route.steps
    if (
        webhook_decision.action == "answer"
        and (objection := _agent_objection(routing_input)) is not None
    ):
        webhook_decision = webhook_decision.rejected(objection)
    if webhook_decision.action is None:
        return replace(
            route,
            steps=(
                *earlier_steps,
                RuleResult(WEBHOOK_RULE, "passed", webhook_decision.why),
                last_step,
            ),
        )
    decision, end_reason = _WEBHOOK_ROUTES[webhook_decision.action]
    steps = (*earlier_steps, RuleResult(WEBHOOK_RULE, "decided", webhook_decision.why))
    route = _build_route(routing_input, decision, end_reason, steps)
    return replace(route, forward_to=webhook_decision.forward_to)


def _agent_objection(routing_input: RoutingInput) -> str | None:
    """Return why no agent can answer, or None."""
    for _, why, decision, _ in _limits_rule(routing_input):
        if decision is not None:
            return why
    return None if routing_input.ai_profile_id is not None else "the tenant has no profile"


def _build_route(
    routing_input: RoutingInput,
    decision: Decision,
    end_reason: str | None,
    steps: tuple[RuleResult, ...],
) -> Route:
    return Route(
        decision,
        steps,
        end_reason,
        _forward_target(routing_input) if decision == "forward" else None,
        routing_input.ai_profile_id if decision == "agent" else None,
        routing_input.ai_profile_version if decision == "agent" else None,
    )


def _forward_target(routing_input: RoutingInput) -> str | None:
    return routing_input.forward_to or routing_input.fallback_number


_RuleOutcome = tuple[str, str, Decision | None, str | None]


def _evaluate_rules(routing_input: RoutingInput) -> Iterator[_RuleOutcome]:
    """Yield (rule, why, decision or None, end reason) in order. None passes to the next rule."""
    if not routing_input.owned:
        yield "number", "the number does not belong to this tenant", "refused", "invalid_number"
    yield "number", "the number belongs to this tenant", None, None
    if (
        routing_input.quarantined_until is not None
        and routing_input.moment < routing_input.quarantined_until
    ):
        why = f"released; in quarantine until {routing_input.quarantined_until.isoformat()}"
        yield "resting", why, "refused", "number_inactive"
    yield "resting", "not in quarantine", None, None
    if not (routing_input.exists and routing_input.is_active):
        yield "active", "the number is not active", "refused", "number_inactive"
    yield "active", "the number is active", None, None
    yield from _mode_rule(routing_input)
    if routing_input.tenant_status != "active":
        yield (
            "tenant",
            f"the tenant is {routing_input.tenant_status}",
            "refused",
            "tenant_suspended",
        )
    yield "tenant", "the tenant is active", None, None
    yield from _hours_rule(routing_input)
    yield from _limits_rule(routing_input)
    yield from _profile_rules(routing_input)


def _mode_rule(routing_input: RoutingInput) -> Iterator[_RuleOutcome]:
    if routing_input.mode == "closed":
        yield "mode", "the number is closed", "closed", "closed"
    if routing_input.mode == "forward" and routing_input.tenant_status == "active":
        yield "mode", *_forward_or_close(routing_input, "the number forwards its calls")
    yield "mode", f"mode {routing_input.mode}", None, None


def _hours_rule(routing_input: RoutingInput) -> Iterator[_RuleOutcome]:
    state = routing_input.hours
    if isinstance(state, Closed):
        opening_time = f"opens at {state.opens_at.isoformat()}" if state.opens_at else "never opens"
        why = f"{state.reason} (the {routing_input.hours_source}'s hours); {opening_time}"
        if state.action == "voicemail":
            yield "hours", why, "voicemail", "voicemail"
        if state.action == "forward":
            yield "hours", *_forward_or_close(routing_input, why)
        yield "hours", why, "closed", "closed"
    yield "hours", f"{state.reason} (the {routing_input.hours_source}'s hours)", None, None


def _forward_or_close(routing_input: RoutingInput, why: str) -> tuple[str, Decision, str]:
    """Forward to the number's target, otherwise to its fallback number, otherwise close."""
    if _forward_target(routing_input) is None:
        return f"{why}, and there is no number to forward to", "closed", "closed"
    return why, "forward", "transferred"


def _limits_rule(routing_input: RoutingInput) -> Iterator[_RuleOutcome]:
    if not routing_input.within_concurrency_limit:
        yield "limits", "the concurrency limit is reached", "refused", "concurrency_limit"
    if not routing_input.within_token_limit:
        yield "limits", "the daily token limit is reached", "refused", "token_limit"
    if not routing_input.within_spend_cap:
        yield "limits", "the monthly spend cap is reached", "refused", "spend_cap"
    if not routing_input.model_available:
        yield "limits", "no language model is configured for real callers", "refused", "model_error"
    yield "limits", "within the tenant's limits", None, None


def _profile_rules(routing_input: RoutingInput) -> Iterator[_RuleOutcome]:
    if routing_input.profile_requested:
        yield "profile", "the simulation was requested with this profile", "agent", None
    if routing_input.number_has_profile:
        yield "profile", "the number has this profile", "agent", None
    yield "profile", "the number has no profile of its own", None, None
    if routing_input.ai_profile_id is not None:
        yield "default", "the tenant's default profile", "agent", None
    yield "default", "the tenant has no profile", "refused", "declined"
