"""Rejections are delayed to the refill rate, without holding a database connection."""

from uuid import uuid4

import pytest
from flask import Flask

from tests.integration.api.rate_limits.conftest import (
    BUCKET_SIZE,
    NO_REFILL_RATE,
    WINDOW_S,
    get_statuses,
)
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.api.limits import Limiter, RateLimitConfig
from vca.registry.rate_limits.buckets import Limit
from vca.registry.rate_limits.token_cache import MAX_REJECTION_DELAY_S, TokenCache


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

    assert get_statuses(acme.api, BUCKET_SIZE) == [200] * BUCKET_SIZE
    assert waits_s == []
    assert get_statuses(acme.api, 2) == [429] * 2
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
        used_connections.append(app_services().database.engine.pool.checkedout())  # type: ignore[attr-defined]
        statuses.append(globex.api.get("/api/me").status_code)

    config = RateLimitConfig(key=NO_REFILL_RATE, window_s=WINDOW_S, rejection_threads=1)
    limiter = Limiter(config, TokenCache(now=lambda: 0.0), wait=send_another_request)
    app.extensions["limiter"] = limiter

    assert get_statuses(acme.api, BUCKET_SIZE + 1)[-1] == 429
    assert (statuses, used_connections) == ([200], [0])
