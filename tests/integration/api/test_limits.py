"""Rate limits at the edge: of keys, of tenants, and of addresses that fail."""

import re
from collections.abc import Callable
from typing import Any
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

# So slow that a bucket of five gains nothing while a test lasts.
STILL, WINDOW_S, FIVE = 0.001, 5_000, 5
FAILURES = 20
NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
Limited = Callable[..., Limiter]


@pytest.fixture
def limited(app: Flask, db_snapshot: SnapshotChecker) -> Limited:
    """Has the app limited like this from now on, as by a process that has just begun."""
    db_snapshot.rows("DELETE FROM public.rate_buckets")  # tenants are used again

    def limit(**rates: Any) -> Limiter:
        given = RateLimitConfig(window_s=WINDOW_S, secret=uuid4().hex, **rates)
        limiter = Limiter(given, TokenCache(now=lambda: 0.0))
        app.extensions["limiter"] = limiter
        return limiter

    return limit


def _asked(api: Api, times: int) -> list[int]:
    return [api.get("/api/me").status_code for _ in range(times)]


def _outcome(answer: ApiResponse) -> tuple[int, str, str]:
    return answer.status_code, answer.json["code"], answer.json.get("limit", "")


# --- Keys and tenants ---------------------------------------------------------------------------


def test_a_key_beyond_its_limit_is_429_that_says_which_and_when_to_come_back(
    acme: Tenant, limited: Limited
) -> None:
    limited(key=STILL)
    assert _asked(acme.api, FIVE) == [200] * FIVE

    answer = acme.get("/calls")

    assert _outcome(answer) == (429, "rate-limited", "key")
    assert answer.mimetype == "application/problem+json"
    assert answer.json["detail"] == "Too many requests: the limit of this key is 5 in 5000 seconds."
    wait_s = int(answer.headers["Retry-After"])
    assert 900 < wait_s <= 1_000
    assert answer.headers["RateLimit-Policy"] == '"key";q=5;w=5000'
    assert answer.headers["RateLimit"] == f'"key";r=0;t={wait_s}'


def test_every_answer_to_a_good_key_tells_how_its_limits_stand(
    acme: Tenant, limited: Limited
) -> None:
    limited(key=STILL, tenant=2 * STILL)

    answers = [acme.get("/calls"), acme.get(f"/calls/{uuid4()}"), acme.post("/ai-profiles", {})]

    assert [answer.status_code for answer in answers] == [200, 404, 400]
    for spent, answer in enumerate(answers, start=1):
        assert answer.headers["RateLimit-Policy"] == '"key";q=5;w=5000, "tenant";q=10;w=5000'
        told = r'"key";r=(\d);t=\d+, "tenant";r=(\d);t=\d+'
        found = re.fullmatch(told, answer.headers["RateLimit"])
        assert found is not None
        assert (int(found[1]), int(found[2])) == (5 - spent, 10 - spent)


def test_what_is_refused_is_not_done_and_writes_nothing(
    acme: Tenant, limited: Limited, db_snapshot: SnapshotChecker
) -> None:
    limited(key=STILL)
    _asked(acme.api, FIVE)
    before = (
        db_snapshot.write_markers(acme.id),
        db_snapshot.rows("SELECT * FROM public.rate_buckets ORDER BY 1"),
    )

    for _ in range(3):
        key = {"Idempotency-Key": uuid4().hex}
        answer = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT}, headers=key)
        assert _outcome(answer) == (429, "rate-limited", "key")

    after = (
        db_snapshot.write_markers(acme.id),
        db_snapshot.rows("SELECT * FROM public.rate_buckets ORDER BY 1"),
    )
    assert [row[1:] for row in after[0]] == [row[1:] for row in before[0]]
    assert [row[0] for row in after[1]] == [row[0] for row in before[1]]


def test_each_key_has_a_limit_of_its_own(acme: Tenant, limited: Limited, world: Factory) -> None:
    other = world.api(world.key(acme.id))
    limited(key=STILL)

    assert _asked(acme.api, FIVE + 1)[-1] == 429

    assert _asked(other, FIVE) == [200] * FIVE


def test_all_keys_of_a_tenant_share_the_tenants_and_no_other_tenant_does(
    acme: Tenant, globex: Tenant, limited: Limited, world: Factory
) -> None:
    other = world.api(world.key(acme.id))
    limited(tenant=STILL)

    assert _asked(acme.api, 3) + _asked(other, 3) == [200] * FIVE + [429]

    assert _outcome(acme.get("/calls")) == (429, "rate-limited", "tenant")
    assert _asked(globex.api, FIVE + 1) == [200] * FIVE + [429]


def test_operators_have_a_limit_of_their_own_and_spend_no_tenants(
    acme: Tenant, limited: Limited, platform: Platform
) -> None:
    limited(key=STILL, tenant=STILL, platform_key=2 * STILL)

    seen = [platform.api.get(acme.url("/calls")) for _ in range(2 * FIVE + 1)]

    assert [answer.status_code for answer in seen] == [200] * 2 * FIVE + [429]
    assert seen[0].headers["RateLimit-Policy"] == '"key";q=10;w=5000'
    assert _asked(acme.api, FIVE) == [200] * FIVE


def test_processes_share_the_limits(acme: Tenant, limited: Limited) -> None:
    limited(key=STILL)
    first = _asked(acme.api, 3)

    limited(key=STILL)

    assert first + _asked(acme.api, 3) == [200] * FIVE + [429]


def test_a_key_that_was_just_refused_is_refused_without_asking_the_database(
    acme: Tenant, globex: Tenant, limited: Limited
) -> None:
    limited(key=STILL)
    _asked(acme.api, FIVE + 1)

    db.set_current_database(Database(NOWHERE))

    assert _outcome(acme.get("/calls")) == (429, "rate-limited", "key")
    assert globex.get("/calls").status_code == 503


def test_without_limits_nothing_is_counted_or_told(
    acme: Tenant, limited: Limited, db_snapshot: SnapshotChecker, anonymous: Api
) -> None:
    limited()

    answers = [acme.get("/calls") for _ in range(10)]
    refused = [anonymous.get("/api/me").status_code for _ in range(FAILURES + 5)]

    assert all("RateLimit" not in answer.headers for answer in answers)
    assert set(refused) == {401}
    buckets = db_snapshot.rows("SELECT id FROM public.rate_buckets WHERE id = %s", acme.id)
    assert buckets == []


@pytest.mark.parametrize("path", ["/", "/livez", "/healthz", "/api/openapi.json", "/docs"])
def test_what_is_open_to_all_has_no_limit(limited: Limited, anonymous: Api, path: str) -> None:
    limited(key=STILL, tenant=STILL, platform_key=STILL, failures=1)

    answers = [anonymous.get(path) for _ in range(FIVE)]

    assert {answer.status_code for answer in answers} == {200}
    assert all("RateLimit" not in answer.headers for answer in answers)


def test_with_the_database_away_it_is_503_as_ever(acme: Tenant, limited: Limited) -> None:
    limited(key=STILL)
    db.set_current_database(Database(NOWHERE))

    assert acme.get("/calls").status_code == 503


# --- Failures -----------------------------------------------------------------------------------


def _from(app: Flask, address: str, key: str | None, **headers: str) -> ApiResponse:
    sent = {"Authorization": f"Bearer {key}"} if key else {}
    return app.test_client().get(
        "/api/me", headers={**sent, **headers}, environ_overrides={"REMOTE_ADDR": address}
    )


def _spent(app: Flask, address: str, **headers: str) -> None:
    """An address that has failed as often as it may, and once more."""
    seen = [_from(app, address, "vca_bad", **headers).status_code for _ in range(2 * FAILURES)]
    assert seen[:FAILURES] == [401] * FAILURES
    assert seen[-1] == 429


def test_an_address_that_fails_too_often_is_told_so_and_good_keys_from_there_are_served(
    app: Flask, acme: Tenant, limited: Limited, world: Factory
) -> None:
    limited(failures=FAILURES)
    _spent(app, "203.0.113.9")
    unknown = world.key(None)
    world.api(unknown)

    for bad in (None, "", "vca_bad", acme.key[:-1], acme.key[:-1] + "!"):
        answer = _from(app, "203.0.113.9", bad)
        assert _outcome(answer) == (429, "rate-limited", "address")
        assert 1 <= int(answer.headers["Retry-After"]) <= 3
        assert answer.headers["RateLimit-Policy"] == '"address";q=20;w=60'
        assert "WWW-Authenticate" not in answer.headers

    assert _from(app, "203.0.113.9", acme.key).status_code == 200
    assert _from(app, "203.0.113.10", "vca_bad").status_code == 401


def test_a_key_that_only_looks_good_fails_like_any_other(
    app: Flask, acme: Tenant, limited: Limited
) -> None:
    limited(failures=FAILURES)
    own = acme.api.get("/api/me").json["id"]
    acme.delete(f"/api-keys/{own}")

    seen = [_from(app, "203.0.113.9", acme.key).status_code for _ in range(2 * FAILURES)]

    assert (seen[0], seen[FAILURES - 1], seen[-1]) == (401, 401, 429)


def test_what_fails_from_one_home_is_one_senders(app: Flask, limited: Limited) -> None:
    limited(failures=FAILURES)
    for last in range(2 * FAILURES):
        _from(app, f"2001:db8:0:1::{last:x}", "vca_bad")

    assert _from(app, "2001:db8:0:1:ffff::1", "vca_bad").status_code == 429
    assert _from(app, "2001:db8:0:2::1", "vca_bad").status_code == 401


def test_nobody_gets_another_address_by_writing_one(app: Flask, limited: Limited) -> None:
    limited(failures=FAILURES)
    _spent(app, "203.0.113.9")

    for header in ("X-Forwarded-For", "Forwarded", "X-Real-Ip"):
        answer = _from(app, "203.0.113.9", "vca_bad", **{header: "198.51.100.7"})
        assert answer.status_code == 429


def test_behind_a_trusted_proxy_those_it_names_are_told_apart(app: Flask, limited: Limited) -> None:
    limited(failures=FAILURES, trusted_proxies=parse_networks("10.0.0.0/8"))
    _spent(app, "10.0.0.1", **{"X-Forwarded-For": "192.0.2.77, 198.51.100.7"})

    again = {"X-Forwarded-For": "192.0.2.78, 198.51.100.7, 10.0.0.2"}
    assert _from(app, "10.0.0.1", "vca_bad", **again).status_code == 429
    other = {"X-Forwarded-For": "198.51.100.7, 198.51.100.8"}
    assert _from(app, "10.0.0.1", "vca_bad", **other).status_code == 401


def test_failures_of_all_processes_count_together(app: Flask, limited: Limited) -> None:
    secret = limited(failures=FAILURES)._config.secret
    seen = [_from(app, "203.0.113.9", None).status_code for _ in range(FAILURES - 1)]

    rates = RateLimitConfig(failures=FAILURES, secret=secret)
    app.extensions["limiter"] = Limiter(rates, TokenCache(now=lambda: 0.0))
    seen += [_from(app, "203.0.113.9", None).status_code for _ in range(FAILURES)]

    assert (seen.count(401) < 2 * FAILURES - 1, seen[-1]) == (True, 429)


def test_strangers_with_many_addresses_have_few_buckets_and_leave_no_address(
    limited: Limited,
) -> None:
    limiter = limited(failures=FAILURES)

    buckets = {
        limiter._client_limits(f"2001:db8:0:{last:x}::/64")[0].bucket_id for last in range(70_000)
    }

    assert len({bucket.bytes[:14] for bucket in buckets}) == 1
    assert len(buckets) <= 65_536


# --- Carriers -----------------------------------------------------------------------------------


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


def _forged(anonymous: Api) -> ApiResponse:
    return anonymous.send("POST", f"{BASE_PATH}voice", data=b'{"call_id": "forged-1"}')


def test_forged_requests_meet_a_limit_and_a_carriers_own_never_do(
    acme: Tenant,
    limited: Limited,
    carrier_client: CarrierClient,
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    limited(failures=FAILURES, key=STILL, tenant=STILL)

    seen = [_forged(anonymous) for _ in range(2 * FAILURES)]

    assert [answer.status_code for answer in seen[:FAILURES]] == [403] * FAILURES
    assert _outcome(seen[-1]) == (429, "rate-limited", "address")
    for ring in range(FIVE + 5):
        request = carrier.signed_request("voice", BASE_PATH, call_id=f"ring-{ring}", to=number)
        answer = carrier_client.send(request)
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


def test_with_the_database_away_a_forged_request_is_not_served(
    limited: Limited, anonymous: Api, carrier: FakeTelephonyAdapter
) -> None:
    limited(failures=FAILURES)
    db.set_current_database(Database(NOWHERE))

    assert _forged(anonymous).status_code == 503  # it may be of an account that nobody can look up


# --- Around -------------------------------------------------------------------------------------


def test_refusals_are_counted_by_the_limit_that_was_met(
    app: Flask, acme: Tenant, limited: Limited
) -> None:
    limited(key=STILL, failures=FAILURES)
    series = b'vca_rate_limited_total{limit="%s"}'

    def counted(name: bytes) -> float:
        found = re.search(re.escape(series % name) + rb" ([\d.]+)", prometheus.exposition())
        return float(found[1]) if found else 0.0

    before = counted(b"key"), counted(b"address")
    _asked(acme.api, FIVE + 2)
    _spent(app, "203.0.113.9")

    assert counted(b"key") == before[0] + 2
    assert counted(b"address") > before[1]


# --- When refusals are answered -----------------------------------------------------------------


@pytest.fixture
def limit() -> Limit:
    """Ten a second."""
    return Limit("key", uuid4(), 10, 50)


def test_refusals_by_one_limit_are_as_far_apart_as_its_tokens_and_none_waits_long(
    limit: Limit,
) -> None:
    leases = TokenCache(now=lambda: 0.0)

    turns = [leases.rejection_delay_s(limit) for _ in range(12)]

    assert turns == pytest.approx(
        [*(each / 10 for each in range(1, 11)), MAX_REJECTION_DELAY_S, MAX_REJECTION_DELAY_S]
    )
    assert leases.rejection_delay_s(Limit("key", uuid4(), 10, 50)) == pytest.approx(0.1)


def test_who_asks_again_later_than_his_turn_does_not_wait_for_those_before(limit: Limit) -> None:
    clock = [0.0]
    leases = TokenCache(now=lambda: clock[0])
    for _ in range(9):
        leases.rejection_delay_s(limit)
    clock[0] = 30.0

    assert leases.rejection_delay_s(limit) == pytest.approx(0.1)


def test_a_refusal_waits_for_its_turn_and_a_request_that_is_served_does_not(
    app: Flask, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows("DELETE FROM public.rate_buckets")
    waited: list[float] = []
    rates = RateLimitConfig(key=STILL, window_s=WINDOW_S, rejection_threads=1)
    app.extensions["limiter"] = Limiter(rates, TokenCache(now=lambda: 0.0), wait=waited.append)

    assert _asked(acme.api, FIVE) == [200] * FIVE
    assert waited == []
    assert _asked(acme.api, 2) == [429] * 2
    assert waited == [MAX_REJECTION_DELAY_S, MAX_REJECTION_DELAY_S]


def test_refusals_wait_in_their_own_threads_only(limit: Limit) -> None:
    within: list[int] = []

    def another_is_refused_meanwhile(_: float) -> None:
        within.append(len(within))
        limiter.delay_rejection(limit)  # would come here for ever

    limiter = Limiter(
        RateLimitConfig(rejection_threads=2), TokenCache(), wait=another_is_refused_meanwhile
    )

    limiter.delay_rejection(limit)
    assert within == [0, 1]
    limiter.delay_rejection(limit)  # all were given back
    assert within == [0, 1, 2, 3]


def test_a_refusal_that_waits_keeps_no_connection_from_others(
    app: Flask, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows("DELETE FROM public.rate_buckets")
    served: list[int] = []
    busy: list[int] = []

    def another_asks_meanwhile(_: float) -> None:
        busy.append(db.current_database().engine.pool.checkedout())  # type: ignore[attr-defined]
        served.append(globex.api.get("/api/me").status_code)

    rates = RateLimitConfig(key=STILL, window_s=WINDOW_S, rejection_threads=1)
    limiter = Limiter(rates, TokenCache(now=lambda: 0.0), wait=another_asks_meanwhile)
    app.extensions["limiter"] = limiter

    assert _asked(acme.api, FIVE + 1)[-1] == 429
    assert (served, busy) == ([200], [0])


def test_the_settings_make_the_limits(settings: Settings) -> None:
    given = {
        "DATABASE_URL": settings.database_url,
        "APP_ENV": "development",
        "APP_NAME": "VCA",
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
    }

    assert RateLimitConfig.from_settings(read_settings(given)) == RateLimitConfig(
        50, 100, 500, 5, 20, settings.secret_key, (), 8
    )
    more = {"RATE_LIMIT_KEY": "0", "TRUSTED_PROXIES": "10.0.0.0/8"}
    changed = RateLimitConfig.from_settings(read_settings({**given, **more}))
    assert (changed.key, changed.trusted_proxies) == (0, parse_networks("10.0.0.0/8"))


def test_a_new_key_is_limited_from_its_first_request(acme: Tenant, limited: Limited) -> None:
    key = assert_created(acme.post("/api-keys", {"name": "new"}))["key"]
    limited(key=STILL)

    assert _asked(Api(acme.api._client.application, acme.api._validator, key=key), 6)[-1] == 429
