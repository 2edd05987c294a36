"""Rate-limit tokens that are acquired by the statement that looks up the key."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.integration.api.rate_limits.conftest import SetLimits, get_statuses
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services
from vca.kit import clock
from vca.registry.api_keys import service as api_keys
from vca.registry.rate_limits import buckets
from vca.registry.rate_limits.buckets import Limit
from vca.registry.rate_limits.token_cache import AcquiredTokens

BURST = 10


@pytest.fixture
def key_limits() -> list[Limit]:
    """Return two buckets that gain hardly any token during a test."""
    return [Limit(name, uuid4(), 0.001, BURST) for name in ("key", "tenant")]


def acquire_with_key(
    key: str, peppers: Sequence[str], limits: Sequence[Limit]
) -> tuple[api_keys.AuthenticatedKey | None, AcquiredTokens | None]:
    with app_services().database.connection() as connection:
        return api_keys.authenticate_and_acquire(
            connection,
            presented=key,
            peppers=peppers,
            path_tenant_id=None,
            requests=[(limit, 3) for limit in limits],
        )


def remaining_tokens(limits: Sequence[Limit]) -> list[int]:
    with app_services().database.connection() as connection:
        grants = buckets.acquire(connection, [(limit, 0) for limit in limits])
    return [round(grant.remaining) for grant in grants]


def test_a_valid_key_gets_the_requested_tokens_of_every_bucket(
    app: Flask, acme: Tenant, world: Factory, key_limits: list[Limit]
) -> None:
    key = world.key(acme.id)

    caller, acquired = acquire_with_key(key, ["other", *app.config["PEPPERS"]], key_limits)

    assert caller is not None
    assert caller.tenant_id == UUID(acme.id)
    assert acquired is not None
    assert [grant.granted for grant in acquired.grants] == [3, 3]
    assert [round(grant.remaining) for grant in acquired.grants] == [BURST - 3] * 2
    assert remaining_tokens(key_limits) == [BURST - 3] * 2


def test_a_wrong_secret_takes_no_tokens(
    acme: Tenant, world: Factory, key_limits: list[Limit]
) -> None:
    outcome = acquire_with_key(world.key(acme.id), ["another pepper"], key_limits)

    assert outcome == (None, None)
    assert remaining_tokens(key_limits) == [BURST] * 2


def test_an_expired_key_takes_no_tokens(
    app: Flask, acme: Tenant, world: Factory, key_limits: list[Limit]
) -> None:
    key = world.key(acme.id, expires_at=clock.now() - timedelta(seconds=1))

    assert acquire_with_key(key, app.config["PEPPERS"], key_limits) == (None, None)
    assert remaining_tokens(key_limits) == [BURST] * 2


def test_a_revoked_key_takes_no_tokens(
    app: Flask,
    acme: Tenant,
    world: Factory,
    key_limits: list[Limit],
    db_snapshot: SnapshotChecker,
) -> None:
    key = world.key(acme.id)
    db_snapshot.rows(f"UPDATE public.api_keys SET revoked_at = now() WHERE prefix = '{key[:12]}'")

    assert acquire_with_key(key, app.config["PEPPERS"], key_limits) == (None, None)
    assert remaining_tokens(key_limits) == [BURST] * 2


def test_a_key_of_a_deleted_tenant_takes_no_tokens(
    app: Flask, acme: Tenant, world: Factory, platform: Platform, key_limits: list[Limit]
) -> None:
    key = world.key(acme.id)
    assert platform.api.patch(acme.url(), {"status": "deleted"}).status_code == 200

    assert acquire_with_key(key, app.config["PEPPERS"], key_limits) == (None, None)
    assert remaining_tokens(key_limits) == [BURST] * 2


def test_the_second_list_of_a_key_takes_two_round_trips(
    acme: Tenant, set_limits: SetLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(key=0.001, tenant=0.001)
    for _ in range(2):  # the first request of a key in a process acquires its tokens separately
        acme.get("/phone-numbers")
    with record_sent_sql(monkeypatch) as round_trips:
        response = acme.get("/phone-numbers")

    assert response.status_code == 200
    assert '"key";r=2;' in response.headers["RateLimit"]
    assert len(round_trips) == 2, round_trips


def test_no_request_is_granted_above_the_limit(acme: Tenant, set_limits: SetLimits) -> None:
    set_limits(key=0.001)

    assert get_statuses(acme.api, 7) == [200] * 5 + [429] * 2


def test_a_revoked_key_is_refused_at_once(
    acme: Tenant, world: Factory, set_limits: SetLimits
) -> None:
    api = world.api(world.key(acme.id))
    set_limits(key=0.001)
    assert get_statuses(api, 2) == [200, 200]

    key_id = api.get("/api/me").json["id"]
    acme.api.delete(f"{acme.url()}/api-keys/{key_id}")

    assert get_statuses(api, 2) == [401, 401]
