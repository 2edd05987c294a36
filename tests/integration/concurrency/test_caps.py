"""Of sixteen simultaneous creations at one below the cap, exactly one succeeds."""

from collections import Counter
from functools import partial
from typing import Any

import pytest

from tests.fakes.http_receiver import HttpReceiver
from tests.support.accounts import create_account
from tests.support.caps import set_cap
from tests.support.concurrency import run_concurrently
from tests.support.factories import SYSTEM_PROMPT, Factory, Platform, Tenant, fresh_number
from tests.support.webhooks import receiver_url, register_webhook

REQUEST_COUNT = 16


def _created(world: Factory, url: str, key: str, bodies: list[Any], *, cap_name: str) -> int:
    """Send the bodies at the same moment; return how many were accepted."""
    responses = run_concurrently([partial(world.api(key).post, url, body) for body in bodies])
    conflicts = [response for response in responses if response.status_code == 409]
    statuses = Counter(response.status_code for response in responses)
    assert all(response.json["limit"] == cap_name for response in conflicts)
    assert len(conflicts) == REQUEST_COUNT - 1, statuses
    return sum(response.status_code in (201, 202) for response in responses)


def test_profiles(world: Factory, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cap(monkeypatch, "ai_profiles", 3)
    acme.profile()
    acme.profile()
    bodies = [{"system_prompt": SYSTEM_PROMPT}] * REQUEST_COUNT

    created = _created(world, acme.url("/ai-profiles"), acme.key, bodies, cap_name="ai_profiles")

    assert created == 1
    assert len(acme.get("/ai-profiles").json) == 3


def test_numbers(world: Factory, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cap(monkeypatch, "numbers", 2)
    acme.number()
    bodies = [{"did_number": fresh_number()} for _ in range(REQUEST_COUNT)]

    created = _created(world, acme.url("/phone-numbers"), acme.key, bodies, cap_name="numbers")

    assert created == 1


def test_webhooks_of_a_tenant(
    world: Factory, acme: Tenant, endpoint: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cap(monkeypatch, "webhooks", 2)
    register_webhook(acme, endpoint)
    bodies = [{"url": receiver_url(endpoint)}] * REQUEST_COUNT

    created = _created(world, acme.url("/webhooks"), acme.key, bodies, cap_name="webhooks")

    assert created == 1


def test_telephony_accounts(world: Factory, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cap(monkeypatch, "telephony_accounts", 2)
    create_account(acme)
    fields = {"account_id": "acme", "secret": "secret-of-acme-which-is-long"}
    bodies = [{"provider_type": "fake", "fields": fields}] * REQUEST_COUNT
    url = acme.url("/telephony-accounts")

    created = _created(world, url, acme.key, bodies, cap_name="telephony_accounts")

    assert created == 1


def test_open_simulations(world: Factory, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cap(monkeypatch, "simulations", 2)
    profile_id, number = acme.profile()["id"], acme.number()["did_number"]
    acme.simulate(number)
    bodies = [{"to": number}, {"ai_profile_id": profile_id}] * (REQUEST_COUNT // 2)
    url = acme.url("/simulations")

    created = _created(world, url, acme.key, bodies, cap_name="simulations")

    assert created == 1


def test_test_events(
    world: Factory, acme: Tenant, endpoint: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cap(monkeypatch, "test_events", 2)
    webhook, other_webhook = register_webhook(acme, endpoint), register_webhook(acme, endpoint)
    url = f"/webhooks/{webhook['id']}/test"
    assert acme.post(url).status_code == 202

    created = _created(
        world, acme.url(url), acme.key, [None] * REQUEST_COUNT, cap_name="test_events"
    )

    assert created == 1
    assert acme.post(f"/webhooks/{other_webhook['id']}/test").status_code == 202


def test_exports(
    world: Factory, acme: Tenant, globex: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [{"number": "+14155550123"}] * REQUEST_COUNT
    for _ in range(4):
        assert acme.post("/privacy/export", bodies[0]).status_code == 202

    created = _created(world, acme.url("/privacy/export"), acme.key, bodies, cap_name="exports")

    assert created == 1
    assert globex.post("/privacy/export", bodies[0]).status_code == 202
    world.run_jobs(acme)
    assert acme.post("/privacy/export", bodies[0]).status_code == 202  # the others are finished
    set_cap(monkeypatch, "stored_exports", 5)
    response = acme.post("/privacy/export", bodies[0])
    assert (response.status_code, response.json["limit"]) == (409, "stored_exports")


def test_erasures(world: Factory, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cap(monkeypatch, "erasures", 1)
    bodies = [{"number": "+14155550123"}] * REQUEST_COUNT

    created = _created(world, acme.url("/privacy/erase"), acme.key, bodies, cap_name="erasures")

    assert created == 1
    world.run_jobs(acme)
    assert acme.post("/privacy/erase", bodies[0]).status_code == 202


def test_keys_of_a_tenant(
    world: Factory, acme: Tenant, globex: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    existing = len(acme.get("/api-keys", limit=100).json)
    set_cap(monkeypatch, "api_keys", existing + 1)
    bodies = [{"name": "crm"}] * REQUEST_COUNT

    created = _created(world, acme.url("/api-keys"), acme.key, bodies, cap_name="api_keys")

    assert created == 1
    assert globex.post("/api-keys", bodies[0]).status_code == 201


def test_platform_keys(world: Factory, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [{"name": "ops"}] * REQUEST_COUNT
    existing = _count_active_platform_keys(platform)
    set_cap(monkeypatch, "api_keys", existing + 1)

    created = _created(world, "/api/api-keys", platform.key, bodies, cap_name="api_keys")

    assert created == 1


def _count_active_platform_keys(platform: Platform) -> int:
    keys = platform.api.get("/api/api-keys", limit=100).json
    assert len(keys) < 100
    return sum(key["revoked_at"] is None for key in keys)


def test_a_revoked_key_makes_room_and_still_counts_for_the_day(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    existing = len(acme.get("/api-keys", limit=100).json)
    set_cap(monkeypatch, "api_keys", existing + 1)
    set_cap(monkeypatch, "api_keys_per_day", existing + 2)
    key = acme.post("/api-keys", {"name": "first"}).json
    assert acme.post("/api-keys", {"name": "refused"}).json["limit"] == "api_keys"

    acme.delete(f"/api-keys/{key['id']}")
    second = acme.post("/api-keys", {"name": "second"})
    acme.delete(f"/api-keys/{second.json['id']}")
    third = acme.post("/api-keys", {"name": "third"})

    assert second.status_code == 201
    assert (third.status_code, third.json["limit"]) == (409, "api_keys_per_day")


def test_simulations_of_a_day(
    world: Factory, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cap(monkeypatch, "simulations_per_day", 2)
    acme.profile()
    number = acme.number(mode="closed")["did_number"]
    acme.simulate(number)
    url, bodies = acme.url("/simulations"), [{"to": number}] * REQUEST_COUNT

    created = _created(world, url, acme.key, bodies, cap_name="simulations_per_day")

    assert created == 1
    world.sql(acme, "UPDATE calls SET ended_at = ended_at - interval '1 day'")
    acme.simulate(number)
