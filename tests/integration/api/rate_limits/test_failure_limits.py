"""Limits of failed authentications by client address, for API keys and carriers' signatures."""

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
    send_from_address,
)
from tests.support.api import Api, ApiResponse
from tests.support.carrier_client import BASE_PATH, CarrierClient
from tests.support.factories import Factory, Tenant
from tests.support.services import open_database, use_database
from vca.api.limits import Limiter, RateLimitConfig
from vca.kit.addresses import parse_networks
from vca.registry.rate_limits.token_cache import TokenCache
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


def test_too_many_failures_of_an_address_return_429_but_valid_keys_succeed(
    app: Flask, acme: Tenant, set_limits: SetLimits, world: Factory
) -> None:
    set_limits(failures=MAX_FAILURES)
    platform_key = world.key(None)
    exceed_failure_limit(app, "203.0.113.9")

    for bad_key in (None, "", "vca_bad", acme.key[:-1], acme.key[:-1] + "!"):
        response = send_from_address(app, "203.0.113.9", bad_key)
        assert error_fields(response) == (429, "rate-limited", "address")
        assert 1 <= int(response.headers["Retry-After"]) <= 3
        assert response.headers["RateLimit-Policy"] == '"address";q=20;w=60'
        assert "WWW-Authenticate" not in response.headers

    for valid_key in (acme.key, platform_key):
        assert send_from_address(app, "203.0.113.9", valid_key).status_code == 200
    assert send_from_address(app, "203.0.113.10", "vca_bad").status_code == 401


def test_a_revoked_key_counts_as_a_failure(app: Flask, acme: Tenant, set_limits: SetLimits) -> None:
    set_limits(failures=MAX_FAILURES)
    key_id = acme.api.get("/api/me").json["id"]
    acme.delete(f"/api-keys/{key_id}")

    statuses = [
        send_from_address(app, "203.0.113.9", acme.key).status_code for _ in range(2 * MAX_FAILURES)
    ]

    assert (statuses[0], statuses[MAX_FAILURES - 1], statuses[-1]) == (401, 401, 429)


def test_the_addresses_of_an_ipv6_network_share_a_limit_of_failures(
    app: Flask, set_limits: SetLimits
) -> None:
    set_limits(failures=MAX_FAILURES)
    for suffix in range(2 * MAX_FAILURES):
        send_from_address(app, f"2001:db8:0:1::{suffix:x}", "vca_bad")

    assert send_from_address(app, "2001:db8:0:1:ffff::1", "vca_bad").status_code == 429
    assert send_from_address(app, "2001:db8:0:2::1", "vca_bad").status_code == 401


def test_a_client_cannot_change_its_address_with_a_header(
    app: Flask, set_limits: SetLimits
) -> None:
    set_limits(failures=MAX_FAILURES)
    exceed_failure_limit(app, "203.0.113.9")

    for header in ("X-Forwarded-For", "Forwarded", "X-Real-Ip"):
        response = send_from_address(app, "203.0.113.9", "vca_bad", **{header: "198.51.100.7"})
        assert response.status_code == 429


def test_clients_behind_a_trusted_proxy_have_separate_limits(
    app: Flask, set_limits: SetLimits
) -> None:
    set_limits(failures=MAX_FAILURES, trusted_proxies=parse_networks("10.0.0.0/8"))
    exceed_failure_limit(app, "10.0.0.1", **{"X-Forwarded-For": "192.0.2.77, 198.51.100.7"})

    same_client = {"X-Forwarded-For": "192.0.2.78, 198.51.100.7, 10.0.0.2"}
    assert send_from_address(app, "10.0.0.1", "vca_bad", **same_client).status_code == 429
    other_client = {"X-Forwarded-For": "198.51.100.7, 198.51.100.8"}
    assert send_from_address(app, "10.0.0.1", "vca_bad", **other_client).status_code == 401


def test_all_processes_share_the_limit_of_failures(app: Flask, set_limits: SetLimits) -> None:
    secret = set_limits(failures=MAX_FAILURES)._config.secret
    statuses = [
        send_from_address(app, "203.0.113.9", None).status_code for _ in range(MAX_FAILURES - 1)
    ]

    config = RateLimitConfig(failures=MAX_FAILURES, secret=secret)
    app.extensions["limiter"] = Limiter(config, TokenCache(now=lambda: 0.0))
    statuses += [
        send_from_address(app, "203.0.113.9", None).status_code for _ in range(MAX_FAILURES)
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
    assert error_fields(responses[-1]) == (429, "rate-limited", "address")
    for index in range(BUCKET_SIZE + 5):
        request = carrier.signed_request("voice", BASE_PATH, call_id=f"ring-{index}", to=number)
        response = carrier_client.send(request)
        assert response.status_code == 200
        assert "RateLimit" not in response.headers


def test_a_forged_request_returns_503_if_the_database_is_unreachable(
    set_limits: SetLimits, anonymous: Api, carrier: FakeTelephonyAdapter
) -> None:
    set_limits(failures=MAX_FAILURES)
    use_database(open_database(UNREACHABLE_URL))

    assert (
        _send_forged_request(anonymous).status_code == 503
    )  # the secret of an account is in the database


def test_wrong_tokens_of_metrics_count_as_failures_but_the_right_one_succeeds(
    app: Flask, set_limits: SetLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(failures=MAX_FAILURES)
    token = "t" * 32
    monkeypatch.setitem(app.config, "METRICS_TOKEN", token)

    def send_token(token: str) -> int:
        return (
            app.test_client()
            .get(
                "/metrics",
                headers={"Authorization": f"Bearer {token}"},
                environ_overrides={"REMOTE_ADDR": "203.0.113.9"},
            )
            .status_code
        )

    statuses = [send_token(f"{token}x") for _ in range(2 * MAX_FAILURES)]

    assert statuses[:MAX_FAILURES] == [401] * MAX_FAILURES
    assert statuses[-1] == 429
    assert send_token(token) == 200
