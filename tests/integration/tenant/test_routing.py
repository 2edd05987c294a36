"""Tests of routing: the order of the rules, the reason for each decision, and explanations."""

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
PROFILE_ID = uuid4()
CLOSED, VOICEMAIL, FORWARD = (Closed(action, "at night", None) for action in CLOSED_ACTIONS)
ANSWERED_INPUT = RoutingInput(NOW, owned=True, ai_profile_id=PROFILE_ID, ai_profile_version=3)

FORWARDED = ("forward", "forward", "transferred")
WEBHOOK_DECISIONS = [
    WebhookDecision("it is silent"),
    WebhookDecision("it wants it", "answer", ai_profile_id=PROFILE_ID),
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
def test_the_first_rule_that_decides_determines_the_route(
    changes: dict[str, Any], decision: str, end_reason: str | None, last_rule: str
) -> None:
    route = decide_route(replace(ANSWERED_INPUT, **changes))

    assert (route.decision, route.end_reason) == (decision, end_reason)
    assert route.steps[-1].rule == last_rule
    assert [step.verdict for step in route.steps[:-1]] == ["passed"] * (len(route.steps) - 1)
    assert (route.ai_profile_id is not None) == (decision == "agent")


_TIMES = st.datetimes(timezones=st.just(UTC))
_NUMBERS = st.none() | st.just("+14155550100")


@given(
    routing_input=st.builds(
        RoutingInput,
        moment=_TIMES,
        owned=st.booleans(),
        tenant_status=st.sampled_from(STATUSES),
        quarantined_until=st.none() | _TIMES,
        exists=st.booleans(),
        is_active=st.booleans(),
        mode=st.sampled_from(MODES),
        forward_to=_NUMBERS,
        fallback_number=_NUMBERS,
        hours=st.just(ALWAYS_OPEN)
        | st.builds(Closed, st.sampled_from(CLOSED_ACTIONS), st.just("x"), st.none() | _TIMES),
        hours_source=st.sampled_from(["number", "tenant"]),
        number_has_profile=st.booleans(),
        ai_profile_id=st.none() | st.just(PROFILE_ID),
        ai_profile_version=st.just(3),
        within_concurrency_limit=st.booleans(),
        model_available=st.booleans(),
        has_webhook=st.booleans(),
        webhook_decision=st.none() | st.sampled_from(WEBHOOK_DECISIONS),
    ).filter(
        lambda routing_input: (
            not routing_input.number_has_profile or routing_input.ai_profile_id is not None
        )
    )
)
def test_any_input_yields_exactly_one_complete_decision(
    routing_input: RoutingInput,
) -> None:
    route = decide_route(routing_input)

    assert route.decision in get_args(Decision)
    assert [step.verdict for step in route.steps].count("decided") == 1
    assert route.steps[-1].verdict == "decided"
    assert all(step.why for step in route.steps)
    assert (route.end_reason is None) is (route.decision == "agent")
    assert route.end_reason is None or route.end_reason in END_REASONS
    assert (route.ai_profile_id is not None) is (route.decision == "agent")
    assert (route.forward_to is not None) is (route.decision == "forward")
    assert route.webhook_pending <= (
        routing_input.has_webhook and routing_input.webhook_decision is None
    )


@pytest.mark.parametrize("changes", [{}, {"mode": "forward", "forward_to": "+1"}])
@pytest.mark.parametrize(
    ("action", "decision", "end_reason"),
    [("answer", "agent", None), ("reject", "refused", "declined"), FORWARDED],
)
def test_a_decision_webhook_precedes_the_rule_that_would_answer(
    changes: dict[str, Any], action: WebhookAction, decision: str, end_reason: str | None
) -> None:
    webhook_decision = WebhookDecision("so it says", action, "+2" if action == "forward" else None)

    route = decide_route(
        replace(ANSWERED_INPUT, has_webhook=True, webhook_decision=webhook_decision, **changes)
    )

    assert (route.decision, route.end_reason) == (decision, end_reason)
    assert (route.steps[-1].rule, route.steps[-1].verdict) == (WEBHOOK_RULE, "decided")
    assert route.forward_to == webhook_decision.forward_to
    assert route.rejected_by_webhook is (action == "reject")
    assert route_from_dict(route.as_dict()) == route


@pytest.mark.parametrize(
    "changes",
    [
        {"within_concurrency_limit": False},
        {"within_token_limit": False},
        {"model_available": False},
        {"ai_profile_id": None},
    ],
)
def test_a_decision_webhook_cannot_select_an_agent_that_cannot_answer(
    changes: dict[str, Any],
) -> None:
    without_webhook = replace(ANSWERED_INPUT, mode="forward", forward_to="+1", **changes)
    with_webhook = replace(
        without_webhook, has_webhook=True, webhook_decision=WebhookDecision("so it says", "answer")
    )

    route = decide_route(with_webhook)

    assert route.decision == "forward"
    assert [step.rule for step in route.steps[-2:]] == [WEBHOOK_RULE, "mode"]
    assert route.steps[-2].why.startswith("so it says, but ")


@pytest.mark.parametrize(
    "changes",
    [{"mode": "closed"}, {"tenant_status": "suspended"}, {"within_concurrency_limit": False}],
)
def test_a_rule_that_refuses_precedes_the_decision_webhook(changes: dict[str, Any]) -> None:
    routing_input = replace(ANSWERED_INPUT, **changes)

    assert decide_route(
        replace(routing_input, has_webhook=True, webhook_decision=WEBHOOK_DECISIONS[0])
    ) == decide_route(routing_input)


def test_a_forward_target_precedes_the_fallback_number() -> None:
    routing_input = replace(ANSWERED_INPUT, mode="forward", forward_to="+1", fallback_number="+2")

    assert decide_route(routing_input).forward_to == "+1"
    assert decide_route(replace(routing_input, forward_to=None)).forward_to == "+2"


NIGHT, DAY = "2026-11-24T03:00:00Z", "2026-11-24T10:00:00Z"
OFFICE = {"weekly": {"tuesday": [{"from": "09:00", "to": "17:00"}]}}


def _explain(tenant: Tenant, number: dict[str, Any], moment: str) -> dict[str, Any]:
    body = {"to": number["did_number"], "at": moment}
    route: dict[str, Any] = tenant.post("/routing/explain", body).json
    return route


def test_an_explanation_applies_the_opening_hours_at_the_given_time(
    acme: Tenant, globex: Tenant
) -> None:
    acme.patch("/settings", {"time_zone": "Europe/Berlin", "hours": OFFICE})
    acme.profile()
    globex.profile()
    number, globex_number = acme.number(), globex.number()

    night = _explain(acme, number, NIGHT)
    day = _explain(acme, number, DAY)

    assert (night["decision"], night["end_reason"]) == ("closed", "closed")
    assert night["rules"][-1] == {
        "rule": "hours",
        "verdict": "decided",
        "why": "outside the opening hours of tuesday (the tenant's hours); "
        "opens at 2026-11-24T09:00:00+01:00",
    }
    assert day["decision"] == "agent"
    assert _explain(acme, number, "1999-11-23T10:00:00Z")["decision"] == "agent"
    assert _explain(globex, globex_number, NIGHT)["decision"] == "agent"


def test_hours_of_a_number_precede_hours_of_the_tenant(acme: Tenant) -> None:
    acme.patch("/settings", {"hours": {"weekly": {}}})
    acme.profile()
    number = acme.number(hours={**OFFICE, "closed_action": "voicemail"})
    path = f"/phone-numbers/{number['id']}"

    night, day = _explain(acme, number, NIGHT), _explain(acme, number, DAY)
    acme.patch(path, {"hours": {"weekly": None}})
    always_open = _explain(acme, number, NIGHT)
    acme.patch(path, {"hours": None})
    with_tenant_hours = _explain(acme, number, DAY)

    assert (night["decision"], night["end_reason"]) == ("voicemail", "voicemail")
    assert "(the number's hours)" in night["rules"][-1]["why"]
    assert (day["decision"], always_open["decision"]) == ("agent", "agent")
    assert with_tenant_hours["decision"] == "closed"
    assert "(the tenant's hours); never opens" in with_tenant_hours["rules"][-1]["why"]


def test_closed_hours_forward_to_the_target_or_to_the_fallback_number(acme: Tenant) -> None:
    acme.patch("/settings", {"hours": {"weekly": {}, "closed_action": "forward"}})
    acme.profile()
    target, fallback = fresh_number(), fresh_number()
    with_target = acme.number(forward_to=target, fallback_number=fallback)
    with_fallback_only = acme.number(fallback_number=fallback)

    assert _explain(acme, with_target, DAY)["forward_to"] == target
    assert _explain(acme, with_fallback_only, DAY)["forward_to"] == fallback
    assert _explain(acme, acme.number(), DAY)["decision"] == "closed"


def test_an_explanation_creates_no_call(acme: Tenant) -> None:
    profile = acme.profile()
    number = acme.number()

    explanation = acme.post("/routing/explain", {"to": number["did_number"]}).json

    assert explanation["decision"] == "agent"
    assert explanation["ai_profile_id"] == profile["id"]
    assert explanation["rules"][-1] == {
        "rule": "default",
        "verdict": "decided",
        "why": "the tenant's default profile",
    }
    assert acme.get("/calls").json == []


def test_a_foreign_number_is_explained_like_an_unknown_one(acme: Tenant, globex: Tenant) -> None:
    globex.profile()
    foreign = globex.number()["did_number"]

    explanations = [
        acme.post("/routing/explain", {"to": number}).json for number in (foreign, fresh_number())
    ]

    assert explanations[0] == explanations[1]
    assert explanations[0]["decision"] == "refused"


def test_an_explanation_applies_the_quarantine_at_the_given_time(acme: Tenant) -> None:
    acme.profile()
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")

    def get_deciding_rule(moment: str) -> str:
        body = {"to": number["did_number"], "at": moment}
        rule: str = acme.post("/routing/explain", body).json["rules"][-1]["rule"]
        return rule

    assert get_deciding_rule("2026-01-01T00:00:00Z") == "resting"
    assert get_deciding_rule("2199-01-01T00:00:00Z") == "active"


def test_a_number_or_a_tenant_that_is_not_in_service_cannot_be_simulated(
    acme: Tenant, platform: Platform
) -> None:
    profile_id = acme.profile()["id"]
    inactive, number, released = acme.number(is_active=False), acme.number(), acme.number()
    acme.delete(f"/phone-numbers/{released['id']}")

    responses = [
        acme.post("/simulations", {"to": number["did_number"]}) for number in (inactive, released)
    ]
    platform.api.patch(acme.url(), {"status": "suspended"})
    responses += [
        platform.api.post(acme.url("/simulations"), body)
        for body in (
            {"to": number["did_number"]},
            {"ai_profile_id": profile_id},
            {
                "direction": "outbound",
                "to": fresh_number(),
                "from_phone_number_id": number["id"],
            },
        )
    ]

    for response in responses:
        assert (response.status_code, response.json["code"]) == (409, "not-answered-by-agent")
    end_reasons = [response.json["detail"].rpartition("(")[2] for response in responses]
    assert end_reasons == ["number_inactive)."] * 2 + ["tenant_suspended)."] * 3
    assert platform.api.get(acme.url("/calls")).json == []
