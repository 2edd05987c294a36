"""Rate limits by key and by tenant, their settings and their metric."""

import re
from uuid import uuid4

import pytest
from flask import Flask

from tests.integration.api.rate_limits.conftest import (
    BUCKET_SIZE,
    MAX_FAILURES,
    NO_REFILL_RATE,
    UNREACHABLE_URL,
    SetLimits,
    error_fields,
    exceed_failure_limit,
    get_statuses,
)
from tests.support.api import Api
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import SYSTEM_PROMPT, Factory, Platform, Tenant, assert_created
from tests.support.services import open_database, use_database
from vca.api.limits import RateLimitConfig
from vca.kit.addresses import parse_networks
from vca.observability import prometheus
from vca.settings import Settings, read_settings


def test_a_429_response_names_the_limit_and_the_time_to_wait(
    acme: Tenant, set_limits: SetLimits
) -> None:
    set_limits(key=NO_REFILL_RATE)
    assert get_statuses(acme.api, BUCKET_SIZE) == [200] * BUCKET_SIZE

    response = acme.get("/calls")

    assert error_fields(response) == (429, "rate-limited", "key")
    assert response.mimetype == "application/problem+json"
    assert (
        response.json["detail"] == "Too many requests: the limit of this key is 5 in 5000 seconds."
    )
    wait_s = int(response.headers["Retry-After"])
    assert 900 < wait_s <= 1_000
    assert response.headers["RateLimit-Policy"] == '"key";q=5;w=5000'
    assert response.headers["RateLimit"] == f'"key";r=0;t={wait_s}'


def test_every_response_to_a_valid_key_has_the_rate_limit_headers(
    acme: Tenant, set_limits: SetLimits
) -> None:
    set_limits(key=NO_REFILL_RATE, tenant=2 * NO_REFILL_RATE)

    responses = [acme.get("/calls"), acme.get(f"/calls/{uuid4()}"), acme.post("/ai-profiles", {})]

    assert [response.status_code for response in responses] == [200, 404, 400]
    for used_tokens, response in enumerate(responses, start=1):
        assert response.headers["RateLimit-Policy"] == '"key";q=5;w=5000, "tenant";q=10;w=5000'
        header_pattern = r'"key";r=(\d);t=\d+, "tenant";r=(\d);t=\d+'
        match = re.fullmatch(header_pattern, response.headers["RateLimit"])
        assert match is not None
        assert (int(match[1]), int(match[2])) == (5 - used_tokens, 10 - used_tokens)


def test_a_rate_limited_request_changes_nothing(
    acme: Tenant, set_limits: SetLimits, db_snapshot: SnapshotChecker
) -> None:
    set_limits(key=NO_REFILL_RATE)
    get_statuses(acme.api, BUCKET_SIZE)
    before = (
        db_snapshot.write_markers(acme.id),
        db_snapshot.rows("SELECT * FROM public.rate_buckets ORDER BY 1"),
    )

    for _ in range(3):
        key = {"Idempotency-Key": uuid4().hex}
        response = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT}, headers=key)
        assert error_fields(response) == (429, "rate-limited", "key")

    after = (
        db_snapshot.write_markers(acme.id),
        db_snapshot.rows("SELECT * FROM public.rate_buckets ORDER BY 1"),
    )
    assert [row[1:] for row in after[0]] == [row[1:] for row in before[0]]
    assert [row[0] for row in after[1]] == [row[0] for row in before[1]]


def test_each_key_has_a_separate_limit(acme: Tenant, set_limits: SetLimits, world: Factory) -> None:
    other_key_client = world.api(world.key(acme.id))
    set_limits(key=NO_REFILL_RATE)

    assert get_statuses(acme.api, BUCKET_SIZE + 1)[-1] == 429

    assert get_statuses(other_key_client, BUCKET_SIZE) == [200] * BUCKET_SIZE


def test_all_keys_of_a_tenant_share_the_limit_of_the_tenant(
    acme: Tenant, globex: Tenant, set_limits: SetLimits, world: Factory
) -> None:
    other_key_client = world.api(world.key(acme.id))
    set_limits(tenant=NO_REFILL_RATE)

    assert get_statuses(acme.api, 3) + get_statuses(other_key_client, 3) == [200] * BUCKET_SIZE + [
        429
    ]

    assert error_fields(acme.get("/calls")) == (429, "rate-limited", "tenant")
    assert get_statuses(globex.api, BUCKET_SIZE + 1) == [200] * BUCKET_SIZE + [429]


def test_a_platform_key_has_a_separate_limit_and_uses_no_tokens_of_a_tenant(
    acme: Tenant, set_limits: SetLimits, platform: Platform
) -> None:
    set_limits(key=NO_REFILL_RATE, tenant=NO_REFILL_RATE, platform_key=2 * NO_REFILL_RATE)

    responses = [platform.api.get(acme.url("/calls")) for _ in range(2 * BUCKET_SIZE + 1)]

    assert [response.status_code for response in responses] == [200] * 2 * BUCKET_SIZE + [429]
    assert responses[0].headers["RateLimit-Policy"] == '"key";q=10;w=5000'
    assert get_statuses(acme.api, BUCKET_SIZE) == [200] * BUCKET_SIZE


def test_all_processes_share_the_limit_of_a_key(acme: Tenant, set_limits: SetLimits) -> None:
    set_limits(key=NO_REFILL_RATE)
    first = get_statuses(acme.api, 3)

    set_limits(key=NO_REFILL_RATE)

    assert first + get_statuses(acme.api, 3) == [200] * BUCKET_SIZE + [429]


def test_a_second_rejection_needs_no_database(
    acme: Tenant, globex: Tenant, set_limits: SetLimits
) -> None:
    set_limits(key=NO_REFILL_RATE)
    get_statuses(acme.api, BUCKET_SIZE + 1)

    use_database(open_database(UNREACHABLE_URL))

    assert error_fields(acme.get("/calls")) == (429, "rate-limited", "key")
    assert globex.get("/calls").status_code == 503


def test_without_limits_no_bucket_is_stored_and_no_header_sent(
    acme: Tenant, set_limits: SetLimits, db_snapshot: SnapshotChecker, anonymous: Api
) -> None:
    set_limits()

    responses = [acme.get("/calls") for _ in range(10)]
    anonymous_statuses = [anonymous.get("/api/me").status_code for _ in range(MAX_FAILURES + 5)]

    assert all("RateLimit" not in response.headers for response in responses)
    assert set(anonymous_statuses) == {401}
    buckets = db_snapshot.rows("SELECT id FROM public.rate_buckets WHERE id = %s", acme.id)
    assert buckets == []


@pytest.mark.parametrize("path", ["/", "/livez", "/healthz", "/api/openapi.json", "/docs"])
def test_operations_without_a_key_have_no_limit(
    set_limits: SetLimits, anonymous: Api, path: str
) -> None:
    set_limits(key=NO_REFILL_RATE, tenant=NO_REFILL_RATE, platform_key=NO_REFILL_RATE, failures=1)

    responses = [anonymous.get(path) for _ in range(BUCKET_SIZE)]

    assert {response.status_code for response in responses} == {200}
    assert all("RateLimit" not in response.headers for response in responses)


def test_a_request_returns_503_if_the_database_is_unreachable(
    acme: Tenant, set_limits: SetLimits
) -> None:
    set_limits(key=NO_REFILL_RATE)
    use_database(open_database(UNREACHABLE_URL))

    assert acme.get("/calls").status_code == 503


def test_rejections_are_counted_by_limit(app: Flask, acme: Tenant, set_limits: SetLimits) -> None:
    set_limits(key=NO_REFILL_RATE, failures=MAX_FAILURES)
    series = b'vca_rate_limited_total{limit="%s"}'

    def rejection_count(name: bytes) -> float:
        match = re.search(re.escape(series % name) + rb" ([\d.]+)", prometheus.exposition())
        return float(match[1]) if match else 0.0

    before = rejection_count(b"key"), rejection_count(b"address")
    get_statuses(acme.api, BUCKET_SIZE + 2)
    exceed_failure_limit(app, "203.0.113.9")

    assert rejection_count(b"key") == before[0] + 2
    assert rejection_count(b"address") > before[1]


def test_the_settings_define_the_limits(settings: Settings) -> None:
    environment = {
        "DATABASE_URL": settings.database_url,
        "APP_ENV": "development",
        "APP_NAME": "VCA",
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
    }

    assert RateLimitConfig.from_settings(read_settings(environment)) == RateLimitConfig(
        50, 100, 500, 5, 20, settings.secret_key, (), 8
    )
    changes = {"RATE_LIMIT_KEY": "0", "TRUSTED_PROXIES": "10.0.0.0/8"}
    changed = RateLimitConfig.from_settings(read_settings({**environment, **changes}))
    assert (changed.key, changed.trusted_proxies) == (0, parse_networks("10.0.0.0/8"))


def test_the_limit_of_a_new_key_counts_its_first_request(
    acme: Tenant, set_limits: SetLimits
) -> None:
    key = assert_created(acme.post("/api-keys", {"name": "new"}))["key"]
    set_limits(key=NO_REFILL_RATE)

    assert (
        get_statuses(Api(acme.api._client.application, acme.api._validator, key=key), 6)[-1] == 429
    )
