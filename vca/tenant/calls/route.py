"""How a ringing number is answered, and why: one pure function of plain facts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from vca.tenant.settings.hours import ALWAYS, Closed, Open

Decision = Literal["agent", "forward", "voicemail", "closed", "refused"]
Verdict = Literal["passed", "decided"]
Advised = Literal["answer", "reject", "forward"]
WEBHOOK = "decision webhook"
_ADVISED: Mapping[Advised, tuple[Decision, str | None]] = {
    "answer": ("agent", None),
    "reject": ("refused", "declined"),
    "forward": ("forward", "transferred"),
}


@dataclass(frozen=True)
class Advice:
    """What a number's decision webhook wants, and why; `decision` None: nothing that counts."""

    why: str
    decision: Advised | None = None
    forward_to: str | None = None
    ai_profile_id: UUID | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def void(self, why: str) -> "Advice":
        """The same where it cannot be followed."""
        return Advice(f"{self.why}, but {why}")


@dataclass(frozen=True)
class Facts:
    """What the route depends on. `owned` False: the number is not this tenant's.

    `hours` are as they stand at that moment, `hours_of` says whose they are. `answerable`: there is
    a language model for this caller. `asks`: the number has a decision webhook; `advice` is what it
    said, None: it was not asked yet.
    """

    at: datetime
    owned: bool
    tenant_status: str = "active"
    rests_until: datetime | None = None
    exists: bool = True
    is_active: bool = True
    mode: str = "agent"
    forward_to: str | None = None
    fallback_number: str | None = None
    hours: Open | Closed = ALWAYS
    hours_of: Literal["number", "tenant"] = "tenant"
    line_free: bool = True
    tokens_left: bool = True
    within_cap: bool = True
    answerable: bool = True
    names_profile: bool = False
    ai_profile_id: UUID | None = None
    ai_profile_version: int | None = None
    asks: bool = False
    advice: Advice | None = None


@dataclass(frozen=True)
class Step:
    """One rule, whether it decided, and why or why not."""

    rule: str
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class Route:
    """What happens to the call. `end_reason` is set when no agent answers.

    `asks`: the number's decision webhook has a say in it, and was not asked yet.
    """

    decision: Decision
    steps: tuple[Step, ...]
    end_reason: str | None = None
    forward_to: str | None = None
    ai_profile_id: UUID | None = None
    ai_profile_version: int | None = None
    asks: bool = False

    @property
    def rejects(self) -> bool:
        """Whether the number's decision webhook wants the caller refused."""
        return self.decision == "refused" and self.steps[-1].rule == WEBHOOK

    def as_dict(self) -> dict[str, Any]:
        """The route as it is kept on the call and shown by the API."""
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


def of_dict(kept: Mapping[str, Any]) -> Route:
    """A route as it is kept on a call."""
    return Route(
        kept["decision"],
        tuple(Step(**rule) for rule in kept["rules"]),
        kept["end_reason"],
        kept["forward_to"],
        kept["ai_profile_id"],
        kept["ai_profile_version"],
    )


def decide(facts: Facts) -> Route:
    """Try the rules in their order; the first that decides is the route.

    Where an agent or a forward would answer, the number's decision webhook goes before that rule.
    """
    route = _by_rules(facts)
    if not facts.asks or route.decision not in ("agent", "forward"):
        return route
    if facts.advice is None:
        return replace(_advised(facts, route, Advice("it is asked before this")), asks=True)
    return _advised(facts, route, facts.advice)


def _by_rules(facts: Facts) -> Route:
    steps: list[Step] = []
    for rule, why, decision, end_reason in _rules(facts):
        steps.append(Step(rule, "decided" if decision else "passed", why))
        if decision:
            return _route(facts, decision, end_reason, tuple(steps))
    raise AssertionError("the last rule always decides")


def _advised(facts: Facts, route: Route, advice: Advice) -> Route:
    *before, last = route.steps
    if advice.decision == "answer" and (objection := _objection(facts)) is not None:
        advice = advice.void(objection)
    if advice.decision is None:
        return replace(route, steps=(*before, Step(WEBHOOK, "passed", advice.why), last))
    decision, end_reason = _ADVISED[advice.decision]
    steps = (*before, Step(WEBHOOK, "decided", advice.why))
    route = _route(facts, decision, end_reason, steps)
    return replace(route, forward_to=advice.forward_to)


def _objection(facts: Facts) -> str | None:
    """Why no agent can answer, whoever wants it."""
    for _, why, decision, _ in _by_limits(facts):
        if decision is not None:
            return why
    return None if facts.ai_profile_id is not None else "the tenant has no profile"


def _route(
    facts: Facts, decision: Decision, end_reason: str | None, steps: tuple[Step, ...]
) -> Route:
    return Route(
        decision,
        steps,
        end_reason,
        _forwards_to(facts) if decision == "forward" else None,
        facts.ai_profile_id if decision == "agent" else None,
        facts.ai_profile_version if decision == "agent" else None,
    )


def _forwards_to(facts: Facts) -> str | None:
    return facts.forward_to or facts.fallback_number


_Outcome = tuple[str, str, Decision | None, str | None]


def _rules(facts: Facts) -> Iterator[_Outcome]:
    """(rule, why, decision or None to pass, end reason), in order."""
    if not facts.owned:
        yield "number", "no number of this tenant", "refused", "invalid_number"
    yield "number", "a number of this tenant", None, None
    if facts.rests_until is not None and facts.at < facts.rests_until:
        why = f"given back; rests until {facts.rests_until.isoformat()}"
        yield "resting", why, "refused", "number_inactive"
    yield "resting", "not resting", None, None
    if not (facts.exists and facts.is_active):
        yield "active", "the number is not active", "refused", "number_inactive"
    yield "active", "the number is active", None, None
    yield from _by_mode(facts)
    if facts.tenant_status != "active":
        yield "tenant", f"the tenant is {facts.tenant_status}", "refused", "tenant_suspended"
    yield "tenant", "the tenant is active", None, None
    yield from _by_hours(facts)
    yield from _by_limits(facts)
    yield from _by_profile(facts)


def _by_mode(facts: Facts) -> Iterator[_Outcome]:
    if facts.mode == "closed":
        yield "mode", "the number is closed", "closed", "closed"
    if facts.mode == "forward" and facts.tenant_status == "active":
        yield "mode", *_forward(facts, "the number forwards")
    yield "mode", f"mode {facts.mode}", None, None


def _by_hours(facts: Facts) -> Iterator[_Outcome]:
    state = facts.hours
    if isinstance(state, Closed):
        opens = f"opens at {state.opens_at.isoformat()}" if state.opens_at else "never opens"
        why = f"{state.why} (the {facts.hours_of}'s hours); {opens}"
        if state.action == "voicemail":
            yield "hours", why, "voicemail", "voicemail"
        if state.action == "forward":
            yield "hours", *_forward(facts, why)
        yield "hours", why, "closed", "closed"
    yield "hours", f"{state.why} (the {facts.hours_of}'s hours)", None, None


def _forward(facts: Facts, why: str) -> tuple[str, Decision, str]:
    """Forward to the number's own target, else to its fallback number; without either: closed."""
    if _forwards_to(facts) is None:
        return f"{why}, and there is no number to forward to", "closed", "closed"
    return why, "forward", "transferred"


def _by_limits(facts: Facts) -> Iterator[_Outcome]:
    if not facts.line_free:
        yield "limits", "all of the tenant's lines are in use", "refused", "concurrency_limit"
    if not facts.tokens_left:
        yield "limits", "the tokens of the day are used up", "refused", "token_limit"
    if not facts.within_cap:
        yield "limits", "the spend cap of the month is reached", "refused", "spend_cap"
    if not facts.answerable:
        yield "limits", "no language model for real callers", "refused", "model_error"
    yield "limits", "within the tenant's limits", None, None


def _by_profile(facts: Facts) -> Iterator[_Outcome]:
    if facts.names_profile:
        yield "profile", "the number names this profile", "agent", None
    yield "profile", "the number names no profile", None, None
    if facts.ai_profile_id is not None:
        yield "default", "the tenant's default profile", "agent", None
    yield "default", "the tenant has no profile", "refused", "declined"
