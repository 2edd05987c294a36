"""Fixtures and helpers for tests of rate limits."""

from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

import pytest
from flask import Flask

from tests.support.api import Api, ApiResponse
from tests.support.db_snapshot import SnapshotChecker
from vca.api.limits import Limiter, RateLimitConfig
from vca.registry.rate_limits.token_cache import TokenCache

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


def get_statuses(api: Api, times: int) -> list[int]:
    return [api.get("/api/me").status_code for _ in range(times)]


def error_fields(response: ApiResponse) -> tuple[int, str, str]:
    return response.status_code, response.json["code"], response.json.get("limit", "")


def send_from_address(app: Flask, address: str, key: str | None, **headers: str) -> ApiResponse:
    key_headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = app.test_client().get(
        "/api/me", headers={**key_headers, **headers}, environ_overrides={"REMOTE_ADDR": address}
    )
    return cast(ApiResponse, response)


def exceed_failure_limit(app: Flask, address: str, **headers: str) -> None:
    """Send requests with bad keys from an address until they return 429."""
    statuses = [
        send_from_address(app, address, "vca_bad", **headers).status_code
        for _ in range(2 * MAX_FAILURES)
    ]
    assert statuses[:MAX_FAILURES] == [401] * MAX_FAILURES
    assert statuses[-1] == 429
