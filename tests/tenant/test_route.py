"""The route: every rule in its order, with the reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.world import Platform, Tenant, fresh_number
from vca.tenant.calls.route import Facts, decide

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PROFILE = uuid4()
GOOD = Facts(NOW, owned=True, ai_profile_id=PROFILE, ai_profile_version=3)


@pytest.mark.parametrize(
    ("changes", "decision", "end_reason", "last_rule"),
    [
        ({}, "agent", None, "default"),
        ({"names_profile": True}, "agent", None, "profile"),
        ({"owned": False}, "refused", "invalid_number", "number"),
        ({"rests_until": NOW + timedelta(1)}, "refused", "number_inactive", "resting"),
        ({"rests_until": NOW}, "agent", None, "default"),
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
        ({"ai_profile_id": None}, "refused", "declined", "default"),
    ],
)
def test_the_first_rule_that_decides_is_the_route(
    changes: dict[str, Any], decision: str, end_reason: str | None, last_rule: str
) -> None:
    route = decide(replace(GOOD, **changes))

    assert (route.decision, route.end_reason) == (decision, end_reason)
    assert route.steps[-1].rule == last_rule
    assert [step.verdict for step in route.steps[:-1]] == ["passed"] * (len(route.steps) - 1)
    assert (route.ai_profile_id is not None) == (decision == "agent")


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
