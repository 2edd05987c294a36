"""Fixtures and helpers for tests of `Idempotency-Key`."""

from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from tests.support.api import ApiResponse
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import SYSTEM_PROMPT, Tenant
from vca.registry.idempotency.service import CLEANUP_JOB

PROFILE = {"system_prompt": SYSTEM_PROMPT}


def new_key_header() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def assert_replayed(first: ApiResponse, repeated: ApiResponse) -> None:
    """Check that the repeated response equals the first one and is marked as replayed."""
    assert repeated.status_code == first.status_code, repeated.text
    assert repeated.data == first.data
    for name in ("Location", "Content-Type"):
        assert repeated.headers.get(name) == first.headers.get(name)
    assert "Idempotency-Replayed" not in first.headers
    assert repeated.headers["Idempotency-Replayed"] == "true"


def assert_error(response: ApiResponse, code: str, status: int = 409) -> None:
    assert (response.status_code, response.json["code"]) == (status, code), response.text


def idempotency_rows(
    db_snapshot: SnapshotChecker, schema: str, key: dict[str, str]
) -> list[tuple[Any, ...]]:
    return db_snapshot.rows(
        f'SELECT api_key, status, headers, answer FROM "{schema}".idempotency_keys WHERE key = %s',
        key["Idempotency-Key"],
    )


def send_crashing_request(
    app: Flask, tenant: Tenant, path: str, body: Any, key: dict[str, str]
) -> None:
    """Send a request that returns 500, which no operation documents."""
    headers = {"Authorization": f"Bearer {tenant.key}", **key}
    response = app.test_client().post(tenant.url(path), json=body, headers=headers)
    assert response.status_code == 500


@pytest.fixture
def answered_number(acme: Tenant) -> str:
    """Return a number of Acme that an agent answers."""
    acme.profile(greeting="Acme here.")
    number: str = acme.number()["did_number"]
    return number


def simulate_call(acme: Tenant, to: str, headers: dict[str, str]) -> ApiResponse:
    return acme.post("/simulations", {"to": to}, headers=dict(headers))


def scheduled_cleanups(db_snapshot: SnapshotChecker, tenant: Tenant | None) -> int:
    lock = f"{tenant.id if tenant else ''}:{CLEANUP_JOB}"
    count_sql = (
        "SELECT count(*) FROM jobs.procrastinate_jobs"
        " WHERE queueing_lock = %s AND status = 'todo' AND scheduled_at > now() + interval '23 h'"
    )
    [(count,)] = db_snapshot.rows(count_sql, lock)
    return int(count)
