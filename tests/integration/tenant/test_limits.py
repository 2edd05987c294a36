"""Limits of a tenant: by plan, set by the platform, and with concurrent requests."""

from collections import Counter
from functools import partial

import pytest

from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.services import app_services
from vca.registry.tenants import tenant_status
from vca.tenancy.session import tenant_session
from vca.tenant.settings.limits import Limits, effective_limits


@pytest.mark.parametrize(("plan", "calls"), [("starter", 2), ("growth", 20), ("custom", 20)])
def test_limits_come_from_the_plan_unless_they_are_set(
    world: Factory, plan: str, calls: int
) -> None:
    with tenant_session(world.tenant(plan=plan).ref, database=app_services().database) as session:
        plan_limits = tenant_status.get_tenant_status(session).plan_limits

    assert effective_limits(plan_limits, {}, services=app_services()) == Limits(
        calls, 1_000, None, 200_000
    )
    limits = {
        "concurrent_calls": 7,
        "numbers": 0,
        "tokens_per_day": 9,
        "simulated_tokens_per_day": 0,
    }
    assert effective_limits(plan_limits, limits, services=app_services()) == Limits(7, 0, 9, 0)


def test_the_platform_changes_the_limits_that_a_tenant_sees(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    plan_limits = {
        "concurrent_calls": 2,
        "numbers": 1_000,
        "tokens_per_day": None,
        "simulated_tokens_per_day": 200_000,
        "dialling": {"countries": None, "per_minute": None, "per_day": None},
    }
    assert acme.get("/settings").json["limits"] == plan_limits

    url = acme.url("/settings")
    update_response = platform.api.patch(url, {"limits": {"concurrent_calls": 5, "numbers": 9}})
    reset_response = platform.api.patch(url, {"limits": {"concurrent_calls": None}})

    assert update_response.json["limits"] == {**plan_limits, "concurrent_calls": 5, "numbers": 9}
    assert reset_response.json["limits"] == {**plan_limits, "numbers": 9}
    assert acme.get("/settings").json["limits"] == {**plan_limits, "numbers": 9}
    assert globex.get("/settings").json["limits"] == plan_limits


def test_a_change_of_plan_changes_the_limits(acme: Tenant, platform: Platform) -> None:
    platform.api.patch(acme.url(), {"plan": "growth"})

    assert acme.get("/settings").json["limits"]["concurrent_calls"] == 20


def test_a_tenant_key_cannot_change_limits(acme: Tenant) -> None:
    response = acme.patch(
        "/settings", {"limits": {"concurrent_calls": 99}, "time_zone": "Asia/Tokyo"}
    )

    assert (response.status_code, response.json["code"]) == (403, "platform-key-needed")
    assert acme.get("/settings").json["limits"]["concurrent_calls"] == 2
    assert acme.get("/settings").json["time_zone"] == "UTC"


def test_a_number_over_the_limit_is_rejected_until_one_is_deleted(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"numbers": 1}})
    number = acme.number()

    by_tenant = acme.post("/phone-numbers", {"did_number": fresh_number()})
    by_platform = platform.api.post(acme.url("/phone-numbers"), {"did_number": fresh_number()})
    inactive = acme.post("/phone-numbers", {"did_number": fresh_number(), "is_active": False})

    for response in (by_tenant, by_platform, inactive):
        assert (response.status_code, response.json["code"]) == (409, "limit-reached")
    assert "numbers: 1" in by_tenant.json["detail"]
    assert globex.number()["id"]
    acme.delete(f"/phone-numbers/{number['id']}")
    assert acme.number(did_number=number["did_number"])["id"]
    second_response = acme.post("/phone-numbers", {"did_number": fresh_number()})
    assert second_response.json["code"] == "limit-reached"


def test_concurrent_requests_do_not_exceed_the_limit_of_numbers(
    world: Factory, acme: Tenant, platform: Platform
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"numbers": 3}})
    url = acme.url("/phone-numbers")

    responses = run_concurrently(
        [partial(world.api(acme.key).post, url, {"did_number": fresh_number()}) for _ in range(12)]
    )

    assert Counter(response.status_code for response in responses) == {201: 3, 409: 9}
    assert len(acme.get("/phone-numbers").json) == 3
