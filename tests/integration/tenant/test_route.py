"""The route: every rule in its order, with the reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import Platform, Tenant, fresh_number
from vca.registry.tenants.models import STATUSES
from vca.tenant.calls.core.state_machine import END_REASONS
from vca.tenant.calls.routing.routing_rules import (
    WEBHOOK_RULE,
    Decision,
    RoutingInput,
    WebhookAction,
    WebhookDecision,
    decide_route,
    route_from_dict,
)
from vca.tenant.phone_numbers.models import MODES
from vca.tenant.settings.hours import ALWAYS_OPEN, CLOSED_ACTIONS, Closed, Open

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PROFILE = uuid4()
CLOSED, VOICEMAIL, FORWARD = (Closed(action, "at night", None) for action in CLOSED_ACTIONS)
GOOD = RoutingInput(NOW, owned=True, ai_profile_id=PROFILE, ai_profile_version=3)

FORWARDED = ("forward", "forward", "transferred")
ADVICE = [
    WebhookDecision("it is silent"),
    WebhookDecision("it wants it", "answer", ai_profile_id=PROFILE),
    WebhookDecision("it wants it", "reject"),
    WebhookDecision("it wants it", "forward", "+2"),
]


@pytest.mark.parametrize(
    ("changes", "decision", "end_reason", "last_rule"),
    [
        ({}, "agent", None, "default"),
        ({"number_has_profile": True}, "agent", None, "profile"),
        ({"owned": False}, "refused", "invalid_number", "number"),
        ({"quarantined_until": NOW + timedelta(1)}, "refused", "number_inactive", "resting"),
        ({"quarantined_until": NOW}, "agent", None, "default"),
        ({"exists": False}, "refused", "number_inactive", "active"),
        ({"is_active": False}, "refused", "number_inactive", "active"),
        ({"mode": "closed"}, "closed", "closed", "mode"),
        ({"mode": "forward", "forward_to": "+1"}, "forward", "transferred", "mode"),
        ({"tenant_status": "suspended"}, "refused", "tenant_suspended", "tenant"),
        (
            {"mode": "forward", "forward_to": "+1", "tenant_status": "suspended"},
            "refused",
            "tenant_suspended",
            "tenant",
        ),
        ({"mode": "forward", "fallback_number": "+1"}, "forward", "transferred", "mode"),
        ({"mode": "forward"}, "closed", "closed", "mode"),
        ({"hours": Open("by day")}, "agent", None, "default"),
        ({"hours": CLOSED}, "closed", "closed", "hours"),
        ({"hours": CLOSED, "number_has_profile": True}, "closed", "closed", "hours"),
        ({"hours": CLOSED, "ai_profile_id": None}, "closed", "closed", "hours"),
        ({"hours": VOICEMAIL}, "voicemail", "voicemail", "hours"),
        ({"hours": FORWARD, "forward_to": "+1"}, "forward", "transferred", "hours"),
        ({"hours": FORWARD, "fallback_number": "+1"}, "forward", "transferred", "hours"),
        ({"hours": FORWARD}, "closed", "closed", "hours"),
        ({"hours": VOICEMAIL, "mode": "closed"}, "closed", "closed", "mode"),
        (
            {"hours": VOICEMAIL, "mode": "forward", "forward_to": "+1"},
            "forward",
            "transferred",
            "mode",
        ),
        (
            {"hours": VOICEMAIL, "tenant_status": "suspended"},
            "refused",
            "tenant_suspended",
            "tenant",
        ),
        ({"hours": VOICEMAIL, "is_active": False}, "refused", "number_inactive", "active"),
        ({"ai_profile_id": None}, "refused", "declined", "default"),
    ],
)
def test_the_first_rule_that_decides_is_the_route(
    changes: dict[str, Any], decision: str, end_reason: str | None, last_rule: str
) -> None:
    route = decide_route(replace(GOOD, **changes))

    assert (route.decision, route.end_reason) == (decision, end_reason)
    assert route.steps[-1].rule == last_rule
    assert [step.verdict for step in route.steps[:-1]] == ["passed"] * (len(route.steps) - 1)
    assert (route.ai_profile_id is not None) == (decision == "agent")


_MOMENTS = st.datetimes(timezones=st.just(UTC))
_NUMBERS = st.none() | st.just("+14155550100")


@given(
    facts=st.builds(
        RoutingInput,
        moment=_MOMENTS,
        owned=st.booleans(),
        tenant_status=st.sampled_from(STATUSES),
        quarantined_until=st.none() | _MOMENTS,
        exists=st.booleans(),
        is_active=st.booleans(),
        mode=st.sampled_from(MODES),
        forward_to=_NUMBERS,
        fallback_number=_NUMBERS,
        hours=st.just(ALWAYS_OPEN)
        | st.builds(Closed, st.sampled_from(CLOSED_ACTIONS), st.just("x"), st.none() | _MOMENTS),
        hours_source=st.sampled_from(["number", "tenant"]),
        number_has_profile=st.booleans(),
        ai_profile_id=st.none() | st.just(PROFILE),
        ai_profile_version=st.just(3),
        within_concurrency_limit=st.booleans(),
        model_available=st.booleans(),
        has_webhook=st.booleans(),
        webhook_decision=st.none() | st.sampled_from(ADVICE),
    ).filter(lambda facts: not facts.number_has_profile or facts.ai_profile_id is not None)
)
def test_whatever_the_facts_there_is_one_decision_with_all_that_it_takes(
    facts: RoutingInput,
) -> None:
    route = decide_route(facts)

    assert route.decision in get_args(Decision)
    assert [step.verdict for step in route.steps].count("decided") == 1
    assert route.steps[-1].verdict == "decided"
    assert all(step.why for step in route.steps)
    assert (route.end_reason is None) is (route.decision == "agent")
    assert route.end_reason is None or route.end_reason in END_REASONS
    assert (route.ai_profile_id is not None) is (route.decision == "agent")
    assert (route.forward_to is not None) is (route.decision == "forward")
    assert route.webhook_pending <= (facts.has_webhook and facts.webhook_decision is None)


@pytest.mark.parametrize("change", [{}, {"mode": "forward", "forward_to": "+1"}])
@pytest.mark.parametrize(
    ("advice", "decision", "end_reason"),
    [("answer", "agent", None), ("reject", "refused", "declined"), FORWARDED],
)
def test_a_decision_webhook_goes_before_the_rule_that_would_have_answered(
    change: dict[str, Any], advice: WebhookAction, decision: str, end_reason: str | None
) -> None:
    advised = WebhookDecision("so it says", advice, "+2" if advice == "forward" else None)

    route = decide_route(replace(GOOD, has_webhook=True, webhook_decision=advised, **change))

    assert (route.decision, route.end_reason) == (decision, end_reason)
    assert (route.steps[-1].rule, route.steps[-1].verdict) == (WEBHOOK_RULE, "decided")
    assert route.forward_to == advised.forward_to
    assert route.rejected_by_webhook is (advice == "reject")
    assert route_from_dict(route.as_dict()) == route


@pytest.mark.parametrize(
    "change",
    [
        {"within_concurrency_limit": False},
        {"within_token_limit": False},
        {"model_available": False},
        {"ai_profile_id": None},
    ],
)
def test_where_no_agent_can_answer_a_decision_webhook_cannot_have_one_answer(
    change: dict[str, Any],
) -> None:
    forwards = replace(GOOD, mode="forward", forward_to="+1", **change)
    advised = replace(
        forwards, has_webhook=True, webhook_decision=WebhookDecision("so it says", "answer")
    )

    route = decide_route(advised)

    assert route.decision == "forward"
    assert [step.rule for step in route.steps[-2:]] == [WEBHOOK_RULE, "mode"]
    assert route.steps[-2].why.startswith("so it says, but ")


@pytest.mark.parametrize(
    "change",
    [{"mode": "closed"}, {"tenant_status": "suspended"}, {"within_concurrency_limit": False}],
)
def test_a_rule_that_refuses_goes_before_any_decision_webhook(change: dict[str, Any]) -> None:
    facts = replace(GOOD, **change)

    assert decide_route(
        replace(facts, has_webhook=True, webhook_decision=ADVICE[0])
    ) == decide_route(facts)


def test_a_forwarding_numbers_own_target_goes_before_its_fallback() -> None:
    facts = replace(GOOD, mode="forward", forward_to="+1", fallback_number="+2")

    assert decide_route(facts).forward_to == "+1"
    assert decide_route(replace(facts, forward_to=None)).forward_to == "+2"


NIGHT, DAY = "2026-11-24T03:00:00Z", "2026-11-24T10:00:00Z"
OFFICE = {"weekly": {"tuesday": [{"from": "09:00", "to": "17:00"}]}}


def _explained(tenant: Tenant, number: dict[str, Any], at: str) -> dict[str, Any]:
    body = {"to": number["did_number"], "at": at}
    route: dict[str, Any] = tenant.post("/routing/explain", body).json
    return route


def test_explaining_tells_what_the_hours_say_at_that_time(acme: Tenant, globex: Tenant) -> None:
    acme.patch("/settings", {"time_zone": "Europe/Berlin", "hours": OFFICE})
    acme.profile()
    globex.profile()
    number, theirs = acme.number(), globex.number()

    night = _explained(acme, number, NIGHT)
    day = _explained(acme, number, DAY)

    assert (night["decision"], night["end_reason"]) == ("closed", "closed")
    assert night["rules"][-1] == {
        "rule": "hours",
        "verdict": "decided",
        "why": "outside the opening hours of tuesday (the tenant's hours); "
        "opens at 2026-11-24T09:00:00+01:00",
    }
    assert day["decision"] == "agent"
    assert _explained(acme, number, "1999-11-23T10:00:00Z")["decision"] == "agent"
    assert _explained(globex, theirs, NIGHT)["decision"] == "agent"


def test_a_numbers_hours_go_before_the_tenants(acme: Tenant) -> None:
    acme.patch("/settings", {"hours": {"weekly": {}}})
    acme.profile()
    number = acme.number(hours={**OFFICE, "closed_action": "voicemail"})
    one = f"/phone-numbers/{number['id']}"

    night, day = _explained(acme, number, NIGHT), _explained(acme, number, DAY)
    acme.patch(one, {"hours": {"weekly": None}})
    always = _explained(acme, number, NIGHT)
    acme.patch(one, {"hours": None})
    tenants = _explained(acme, number, DAY)

    assert (night["decision"], night["end_reason"]) == ("voicemail", "voicemail")
    assert "(the number's hours)" in night["rules"][-1]["why"]
    assert (day["decision"], always["decision"]) == ("agent", "agent")
    assert tenants["decision"] == "closed"
    assert "(the tenant's hours); never opens" in tenants["rules"][-1]["why"]


def test_hours_forward_to_the_numbers_target_or_else_its_fallback(acme: Tenant) -> None:
    acme.patch("/settings", {"hours": {"weekly": {}, "closed_action": "forward"}})
    acme.profile()
    target, fallback = fresh_number(), fresh_number()
    both = acme.number(forward_to=target, fallback_number=fallback)
    one = acme.number(fallback_number=fallback)

    assert _explained(acme, both, DAY)["forward_to"] == target
    assert _explained(acme, one, DAY)["forward_to"] == fallback
    assert _explained(acme, acme.number(), DAY)["decision"] == "closed"


def test_explaining_makes_no_call(acme: Tenant) -> None:
    profile = acme.profile()
    number = acme.number()

    explained = acme.post("/routing/explain", {"to": number["did_number"]}).json

    assert explained["decision"] == "agent"
    assert explained["ai_profile_id"] == profile["id"]
    assert explained["rules"][-1] == {
        "rule": "default",
        "verdict": "decided",
        "why": "the tenant's default profile",
    }
    assert acme.get("/calls").json == []


def test_explaining_a_foreign_number_says_what_an_unknown_one_does(
    acme: Tenant, globex: Tenant
) -> None:
    globex.profile()
    foreign = globex.number()["did_number"]

    answers = [acme.post("/routing/explain", {"to": to}).json for to in (foreign, fresh_number())]

    assert answers[0] == answers[1]
    assert answers[0]["decision"] == "refused"


def test_explaining_looks_at_the_time_asked_for(acme: Tenant) -> None:
    acme.profile()
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")

    def decided_by(at: str) -> str:
        body = {"to": number["did_number"], "at": at}
        rule: str = acme.post("/routing/explain", body).json["rules"][-1]["rule"]
        return rule

    assert decided_by("2026-01-01T00:00:00Z") == "resting"
    assert decided_by("2199-01-01T00:00:00Z") == "active"


def test_a_number_that_no_agent_answers_is_not_simulated(acme: Tenant, platform: Platform) -> None:
    acme.profile()
    number = acme.number(mode="closed")

    closed = acme.post("/simulations", {"to": number["did_number"]})
    platform.api.patch(acme.url(), {"status": "suspended"})
    acme_number = {"mode": "agent"}
    platform.api.patch(acme.url(f"/phone-numbers/{number['id']}"), acme_number)
    suspended = platform.api.post(acme.url("/simulations"), {"to": number["did_number"]})

    assert (closed.status_code, closed.json["code"]) == (409, "not-answered-by-agent")
    assert "closed" in closed.json["detail"]
    assert suspended.status_code == 409
    assert "tenant_suspended" in suspended.json["detail"]
    assert platform.api.get(acme.url("/calls")).json == []
