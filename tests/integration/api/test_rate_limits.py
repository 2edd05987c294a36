"""Rate limits of the API: by key, by tenant, and by client address after failures."""

import re
from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

import pytest
from flask import Flask

from tests.support.api import Api, ApiResponse
from tests.support.carrier_client import BASE_PATH, CarrierClient
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import SYSTEM_PROMPT, Factory, Platform, Tenant, assert_created
from vca.api.limits import Limiter, RateLimitConfig
from vca.kit import db
from vca.kit.addresses import parse_networks
from vca.kit.db import Database
from vca.observability import prometheus
from vca.registry.rate_limits.buckets import Limit
from vca.registry.rate_limits.token_cache import MAX_REJECTION_DELAY_S, TokenCache
from vca.settings import Settings, read_settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

# Five tokens in 5000 seconds: a bucket of five that gains no token during a test.
NO_REFILL_RATE, WINDOW_S, BUCKET_SIZE = 0.001, 5_000, 5
MAX_FAILURES = 20
UNREACHABLE_URL = "postgresql://nobody@127.0.0.1:1/nowhere"
SetLimits = Callable[..., Limiter]


@pytest.fixture
def set_limits(app: Flask, db_snapshot: SnapshotChecker) -> SetLimits:
    """Return a function that installs a new limiter, with an empty token cache, in the app."""
    db_snapshot.rows("DELETE FROM public.rate_buckets")  # pooled tenants are reused

    def install_limiter(**rates: Any) -> Limiter:
        config = RateLimitConfig(window_s=WINDOW_S, secret=uuid4().hex, **rates)
        limiter = Limiter(config, TokenCache(now=lambda: 0.0))
        app.extensions["limiter"] = limiter
        return limiter

    return install_limiter


def _get_statuses(api: Api, times: int) -> list[int]:
    return [api.get("/api/me").status_code for _ in range(times)]


def _error(response: ApiResponse) -> tuple[int, str, str]:
    return response.status_code, response.json["code"], response.json.get("limit", "")


# --- Keys and tenants ---------------------------------------------------------------------------


def test_a_429_response_names_the_limit_and_the_time_to_wait(
    acme: Tenant, set_limits: SetLimits
) -> None:
    set_limits(key=NO_REFILL_RATE)
    assert _get_statuses(acme.api, BUCKET_SIZE) == [200] * BUCKET_SIZE

    response = acme.get("/calls")

    assert _error(response) == (429, "rate-limited", "key")
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
    _get_statuses(acme.api, BUCKET_SIZE)
    before = (
        db_snapshot.write_markers(acme.id),
        db_snapshot.rows("SELECT * FROM public.rate_buckets ORDER BY 1"),
    )

    for _ in range(3):
        key = {"Idempotency-Key": uuid4().hex}
        response = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT}, headers=key)
        assert _error(response) == (429, "rate-limited", "key")

    after = (
        db_snapshot.write_markers(acme.id),
        db_snapshot.rows("SELECT * FROM public.rate_buckets ORDER BY 1"),
    )
    assert [row[1:] for row in after[0]] == [row[1:] for row in before[0]]
    assert [row[0] for row in after[1]] == [row[0] for row in before[1]]


def test_each_key_has_a_separate_limit(acme: Tenant, set_limits: SetLimits, world: Factory) -> None:
    other_key_client = world.api(world.key(acme.id))
    set_limits(key=NO_REFILL_RATE)

    assert _get_statuses(acme.api, BUCKET_SIZE + 1)[-1] == 429

    assert _get_statuses(other_key_client, BUCKET_SIZE) == [200] * BUCKET_SIZE


def test_all_keys_of_a_tenant_share_the_limit_of_the_tenant(
    acme: Tenant, globex: Tenant, set_limits: SetLimits, world: Factory
) -> None:
    other_key_client = world.api(world.key(acme.id))
    set_limits(tenant=NO_REFILL_RATE)

    assert _get_statuses(acme.api, 3) + _get_statuses(other_key_client, 3) == [
        200
    ] * BUCKET_SIZE + [429]

    assert _error(acme.get("/calls")) == (429, "rate-limited", "tenant")
    assert _get_statuses(globex.api, BUCKET_SIZE + 1) == [200] * BUCKET_SIZE + [429]


def test_a_platform_key_has_a_separate_limit_and_uses_no_tokens_of_a_tenant(
    acme: Tenant, set_limits: SetLimits, platform: Platform
) -> None:
    set_limits(key=NO_REFILL_RATE, tenant=NO_REFILL_RATE, platform_key=2 * NO_REFILL_RATE)

    responses = [platform.api.get(acme.url("/calls")) for _ in range(2 * BUCKET_SIZE + 1)]

    assert [response.status_code for response in responses] == [200] * 2 * BUCKET_SIZE + [429]
    assert responses[0].headers["RateLimit-Policy"] == '"key";q=10;w=5000'
    assert _get_statuses(acme.api, BUCKET_SIZE) == [200] * BUCKET_SIZE


def test_all_processes_share_the_limit_of_a_key(acme: Tenant, set_limits: SetLimits) -> None:
    set_limits(key=NO_REFILL_RATE)
    first = _get_statuses(acme.api, 3)

    set_limits(key=NO_REFILL_RATE)

    assert first + _get_statuses(acme.api, 3) == [200] * BUCKET_SIZE + [429]


def test_a_second_rejection_needs_no_database(
    acme: Tenant, globex: Tenant, set_limits: SetLimits
) -> None:
    set_limits(key=NO_REFILL_RATE)
    _get_statuses(acme.api, BUCKET_SIZE + 1)

    db.set_current_database(Database(UNREACHABLE_URL))

    assert _error(acme.get("/calls")) == (429, "rate-limited", "key")
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
    db.set_current_database(Database(UNREACHABLE_URL))

    assert acme.get("/calls").status_code == 503


# --- Failures -----------------------------------------------------------------------------------


def _send_from_address(app: Flask, address: str, key: str | None, **headers: str) -> ApiResponse:
    key_headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = app.test_client().get(
        "/api/me", headers={**key_headers, **headers}, environ_overrides={"REMOTE_ADDR": address}
    )
    return cast(ApiResponse, response)


def _exceed_failure_limit(app: Flask, address: str, **headers: str) -> None:
    """Send requests with bad keys from an address until they return 429."""
    statuses = [
        _send_from_address(app, address, "vca_bad", **headers).status_code
        for _ in range(2 * MAX_FAILURES)
    ]
    assert statuses[:MAX_FAILURES] == [401] * MAX_FAILURES
    assert statuses[-1] == 429


def test_too_many_failures_of_an_address_return_429_but_valid_keys_succeed(
    app: Flask, acme: Tenant, set_limits: SetLimits, world: Factory
) -> None:
    set_limits(failures=MAX_FAILURES)
    _exceed_failure_limit(app, "203.0.113.9")
    unused_key = world.key(None)
    world.api(unused_key)

    for bad_key in (None, "", "vca_bad", acme.key[:-1], acme.key[:-1] + "!"):
        response = _send_from_address(app, "203.0.113.9", bad_key)
        assert _error(response) == (429, "rate-limited", "address")
        assert 1 <= int(response.headers["Retry-After"]) <= 3
        assert response.headers["RateLimit-Policy"] == '"address";q=20;w=60'
        assert "WWW-Authenticate" not in response.headers

    assert _send_from_address(app, "203.0.113.9", acme.key).status_code == 200
    assert _send_from_address(app, "203.0.113.10", "vca_bad").status_code == 401


def test_a_revoked_key_counts_as_a_failure(app: Flask, acme: Tenant, set_limits: SetLimits) -> None:
    set_limits(failures=MAX_FAILURES)
    key_id = acme.api.get("/api/me").json["id"]
    acme.delete(f"/api-keys/{key_id}")

    statuses = [
        _send_from_address(app, "203.0.113.9", acme.key).status_code
        for _ in range(2 * MAX_FAILURES)
    ]

    assert (statuses[0], statuses[MAX_FAILURES - 1], statuses[-1]) == (401, 401, 429)


def test_the_addresses_of_an_ipv6_network_share_a_limit_of_failures(
    app: Flask, set_limits: SetLimits
) -> None:
    set_limits(failures=MAX_FAILURES)
    for suffix in range(2 * MAX_FAILURES):
        _send_from_address(app, f"2001:db8:0:1::{suffix:x}", "vca_bad")

    assert _send_from_address(app, "2001:db8:0:1:ffff::1", "vca_bad").status_code == 429
    assert _send_from_address(app, "2001:db8:0:2::1", "vca_bad").status_code == 401


def test_a_client_cannot_change_its_address_with_a_header(
    app: Flask, set_limits: SetLimits
) -> None:
    set_limits(failures=MAX_FAILURES)
    _exceed_failure_limit(app, "203.0.113.9")

    for header in ("X-Forwarded-For", "Forwarded", "X-Real-Ip"):
        response = _send_from_address(app, "203.0.113.9", "vca_bad", **{header: "198.51.100.7"})
        assert response.status_code == 429


def test_clients_behind_a_trusted_proxy_have_separate_limits(
    app: Flask, set_limits: SetLimits
) -> None:
    set_limits(failures=MAX_FAILURES, trusted_proxies=parse_networks("10.0.0.0/8"))
    _exceed_failure_limit(app, "10.0.0.1", **{"X-Forwarded-For": "192.0.2.77, 198.51.100.7"})

    same_client = {"X-Forwarded-For": "192.0.2.78, 198.51.100.7, 10.0.0.2"}
    assert _send_from_address(app, "10.0.0.1", "vca_bad", **same_client).status_code == 429
    other_client = {"X-Forwarded-For": "198.51.100.7, 198.51.100.8"}
    assert _send_from_address(app, "10.0.0.1", "vca_bad", **other_client).status_code == 401


def test_all_processes_share_the_limit_of_failures(app: Flask, set_limits: SetLimits) -> None:
    secret = set_limits(failures=MAX_FAILURES)._config.secret
    statuses = [
        _send_from_address(app, "203.0.113.9", None).status_code for _ in range(MAX_FAILURES - 1)
    ]

    config = RateLimitConfig(failures=MAX_FAILURES, secret=secret)
    app.extensions["limiter"] = Limiter(config, TokenCache(now=lambda: 0.0))
    statuses += [
        _send_from_address(app, "203.0.113.9", None).status_code for _ in range(MAX_FAILURES)
    ]

    assert (statuses.count(401) < 2 * MAX_FAILURES - 1, statuses[-1]) == (True, 429)


def test_addresses_share_at_most_65536_buckets_with_one_prefix(
    set_limits: SetLimits,
) -> None:
    limiter = set_limits(failures=MAX_FAILURES)

    buckets = {
        limiter._client_limits(f"2001:db8:0:{suffix:x}::/64")[0].bucket_id
        for suffix in range(70_000)
    }

    assert len({bucket.bytes[:14] for bucket in buckets}) == 1
    assert len(buckets) <= 65_536


# --- Carriers -----------------------------------------------------------------------------------


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


def _send_forged_request(anonymous: Api) -> ApiResponse:
    return anonymous.send("POST", f"{BASE_PATH}voice", data=b'{"call_id": "forged-1"}')


def test_forged_carrier_requests_are_limited_and_signed_ones_are_not(
    acme: Tenant,
    set_limits: SetLimits,
    carrier_client: CarrierClient,
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    set_limits(failures=MAX_FAILURES, key=NO_REFILL_RATE, tenant=NO_REFILL_RATE)

    responses = [_send_forged_request(anonymous) for _ in range(2 * MAX_FAILURES)]

    assert [response.status_code for response in responses[:MAX_FAILURES]] == [403] * MAX_FAILURES
    assert _error(responses[-1]) == (429, "rate-limited", "address")
    for index in range(BUCKET_SIZE + 5):
        request = carrier.signed_request("voice", BASE_PATH, call_id=f"ring-{index}", to=number)
        response = carrier_client.send(request)
        assert response.status_code == 200
        assert "RateLimit" not in response.headers


def test_a_forged_request_returns_503_if_the_database_is_unreachable(
    set_limits: SetLimits, anonymous: Api, carrier: FakeTelephonyAdapter
) -> None:
    set_limits(failures=MAX_FAILURES)
    db.set_current_database(Database(UNREACHABLE_URL))

    assert (
        _send_forged_request(anonymous).status_code == 503
    )  # the secret of an account is in the database


# --- Metrics ------------------------------------------------------------------------------------


def test_rejections_are_counted_by_limit(app: Flask, acme: Tenant, set_limits: SetLimits) -> None:
    set_limits(key=NO_REFILL_RATE, failures=MAX_FAILURES)
    series = b'vca_rate_limited_total{limit="%s"}'

    def rejection_count(name: bytes) -> float:
        match = re.search(re.escape(series % name) + rb" ([\d.]+)", prometheus.exposition())
        return float(match[1]) if match else 0.0

    before = rejection_count(b"key"), rejection_count(b"address")
    _get_statuses(acme.api, BUCKET_SIZE + 2)
    _exceed_failure_limit(app, "203.0.113.9")

    assert rejection_count(b"key") == before[0] + 2
    assert rejection_count(b"address") > before[1]


# --- Delayed rejections -------------------------------------------------------------------------


@pytest.fixture
def limit() -> Limit:
    """Return a limit of ten requests a second."""
    return Limit("key", uuid4(), 10, 50)


def test_rejections_are_delayed_to_the_refill_rate_up_to_a_maximum(
    limit: Limit,
) -> None:
    token_cache = TokenCache(now=lambda: 0.0)

    delays_s = [token_cache.rejection_delay_s(limit) for _ in range(12)]

    assert delays_s == pytest.approx(
        [*(tenths / 10 for tenths in range(1, 11)), MAX_REJECTION_DELAY_S, MAX_REJECTION_DELAY_S]
    )
    assert token_cache.rejection_delay_s(Limit("key", uuid4(), 10, 50)) == pytest.approx(0.1)


def test_a_rejection_after_a_pause_is_delayed_by_one_token_only(limit: Limit) -> None:
    clock = [0.0]
    token_cache = TokenCache(now=lambda: clock[0])
    for _ in range(9):
        token_cache.rejection_delay_s(limit)
    clock[0] = 30.0

    assert token_cache.rejection_delay_s(limit) == pytest.approx(0.1)


def test_a_rejected_request_is_delayed_and_an_accepted_one_is_not(
    app: Flask, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows("DELETE FROM public.rate_buckets")
    waits_s: list[float] = []
    config = RateLimitConfig(key=NO_REFILL_RATE, window_s=WINDOW_S, rejection_threads=1)
    app.extensions["limiter"] = Limiter(config, TokenCache(now=lambda: 0.0), wait=waits_s.append)

    assert _get_statuses(acme.api, BUCKET_SIZE) == [200] * BUCKET_SIZE
    assert waits_s == []
    assert _get_statuses(acme.api, 2) == [429] * 2
    assert waits_s == [MAX_REJECTION_DELAY_S, MAX_REJECTION_DELAY_S]


def test_the_number_of_delayed_rejections_is_limited(limit: Limit) -> None:
    nesting_levels: list[int] = []

    def delay_another_rejection(_: float) -> None:
        nesting_levels.append(len(nesting_levels))
        limiter.delay_rejection(limit)  # without a limit, this would recurse infinitely

    limiter = Limiter(
        RateLimitConfig(rejection_threads=2), TokenCache(), wait=delay_another_rejection
    )

    limiter.delay_rejection(limit)
    assert nesting_levels == [0, 1]
    limiter.delay_rejection(limit)  # every thread is free again
    assert nesting_levels == [0, 1, 2, 3]


def test_a_delayed_rejection_holds_no_database_connection(
    app: Flask, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows("DELETE FROM public.rate_buckets")
    statuses: list[int] = []
    used_connections: list[int] = []

    def send_another_request(_: float) -> None:
        used_connections.append(db.current_database().engine.pool.checkedout())  # type: ignore[attr-defined]
        statuses.append(globex.api.get("/api/me").status_code)

    config = RateLimitConfig(key=NO_REFILL_RATE, window_s=WINDOW_S, rejection_threads=1)
    limiter = Limiter(config, TokenCache(now=lambda: 0.0), wait=send_another_request)
    app.extensions["limiter"] = limiter

    assert _get_statuses(acme.api, BUCKET_SIZE + 1)[-1] == 429
    assert (statuses, used_connections) == ([200], [0])


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
        _get_statuses(Api(acme.api._client.application, acme.api._validator, key=key), 6)[-1] == 429
    )
