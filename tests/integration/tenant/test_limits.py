"""Limits: by plan, by what the platform has set, and held when many ask at once."""

from collections import Counter
from functools import partial

import pytest

from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from vca.registry.tenants import tenant_status
from vca.tenancy.session import tenant_session
from vca.tenant.settings.limits import Limits, effective_limits


@pytest.mark.parametrize(("plan", "calls"), [("starter", 2), ("growth", 20), ("custom", 20)])
def test_a_plan_has_its_limits_and_what_is_set_wins(world: Factory, plan: str, calls: int) -> None:
    with tenant_session(world.tenant(plan=plan).ref) as session:
        by_plan = tenant_status.get_tenant_status(session).plan_limits

    assert effective_limits(by_plan, {}) == Limits(calls, None, None)
    given = {"concurrent_calls": 7, "numbers": 0, "tokens_per_day": 9}
    assert effective_limits(by_plan, given) == Limits(7, 0, 9)


def test_a_tenant_sees_its_limits_and_the_platform_changes_them(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    by_plan = {"concurrent_calls": 2, "numbers": None, "tokens_per_day": None}
    assert acme.get("/settings").json["limits"] == by_plan

    url = acme.url("/settings")
    changed = platform.api.patch(url, {"limits": {"concurrent_calls": 5, "numbers": 9}})
    again = platform.api.patch(url, {"limits": {"concurrent_calls": None}})

    assert changed.json["limits"] == {**by_plan, "concurrent_calls": 5, "numbers": 9}
    assert again.json["limits"] == {**by_plan, "numbers": 9}
    assert acme.get("/settings").json["limits"] == {**by_plan, "numbers": 9}
    assert globex.get("/settings").json["limits"] == by_plan


def test_a_change_of_plan_changes_the_limits(acme: Tenant, platform: Platform) -> None:
    platform.api.patch(acme.url(), {"plan": "growth"})

    assert acme.get("/settings").json["limits"]["concurrent_calls"] == 20


def test_a_tenants_key_does_not_change_its_limits(acme: Tenant) -> None:
    refused = acme.patch(
        "/settings", {"limits": {"concurrent_calls": 99}, "time_zone": "Asia/Tokyo"}
    )

    assert (refused.status_code, refused.json["code"]) == (403, "platform-key-needed")
    assert acme.get("/settings").json["limits"]["concurrent_calls"] == 2
    assert acme.get("/settings").json["time_zone"] == "UTC"


def test_a_number_over_the_limit_is_refused_until_one_is_given_back(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"numbers": 1}})
    number = acme.number()

    refused = acme.post("/phone-numbers", {"did_number": fresh_number()})
    by_platform = platform.api.post(acme.url("/phone-numbers"), {"did_number": fresh_number()})
    inactive = acme.post("/phone-numbers", {"did_number": fresh_number(), "is_active": False})

    for answer in (refused, by_platform, inactive):
        assert (answer.status_code, answer.json["code"]) == (409, "limit-reached")
    assert "numbers: 1" in refused.json["detail"]
    assert globex.number()["id"]
    acme.delete(f"/phone-numbers/{number['id']}")
    assert acme.number(did_number=number["did_number"])["id"]
    again = acme.post("/phone-numbers", {"did_number": fresh_number()})
    assert again.json["code"] == "limit-reached"


def test_of_twelve_numbers_asked_for_at_once_the_limits_three_are_had(
    world: Factory, acme: Tenant, platform: Platform
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"numbers": 3}})
    url = acme.url("/phone-numbers")

    answers = run_concurrently(
        [partial(world.api(acme.key).post, url, {"did_number": fresh_number()}) for _ in range(12)]
    )

    assert Counter(answer.status_code for answer in answers) == {201: 3, 409: 9}
    assert len(acme.get("/phone-numbers").json) == 3
