"""Concurrent requests with one idempotency key: one is executed, the others wait for it."""

from functools import partial
from uuid import uuid4

import pytest
from flask import Flask

from tests.integration.api.idempotency.conftest import (
    PROFILE,
    assert_error,
    assert_replayed,
    idempotency_rows,
    new_key_header,
    send_crashing_request,
    simulate_call,
)
from tests.support import admin_db, locks
from tests.support.api import ApiResponse
from tests.support.concurrency import run_concurrently
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant
from vca.tenant.calls.simulation import simulated_calls as calls

CONCURRENT_REQUESTS = 20


def test_equal_concurrent_requests_are_executed_once_and_get_the_same_response(
    world: Factory, acme: Tenant, platform: Platform
) -> None:
    external_id = uuid4().hex
    account_fields = {"account_id": "acme", "secret": "sixteen-characters-or-more"}
    cases = [
        (
            acme.key,
            acme.url("/telephony-accounts"),
            {"provider_type": "fake", "fields": account_fields},
        ),
        (acme.key, acme.url("/ai-profiles"), PROFILE),
        (platform.key, "/api/tenants", {"name": "Hooli", "external_id": external_id}),
    ]

    for key, url, body in cases:
        headers = new_key_header()
        requests = [
            partial(world.api(key).post, url, body, headers=dict(headers))
            for _ in range(CONCURRENT_REQUESTS)
        ]
        responses = run_concurrently(requests)

        assert {response.status_code for response in responses} == {201}, url
        assert len({response.data for response in responses}) == 1
        assert len({response.headers.get("Location") for response in responses}) == 1
        assert sum("Idempotency-Replayed" not in response.headers for response in responses) == 1

    assert len(acme.get("/telephony-accounts").json) == 1
    assert len(acme.get("/ai-profiles").json) == 1
    assert len(platform.api.get("/api/tenants", external_id=external_id).json) == 1


def test_equal_concurrent_simulations_start_one_call(
    world: Factory, acme: Tenant, answered_number: str
) -> None:
    headers = new_key_header()
    requests = [
        partial(
            world.api(acme.key).post,
            acme.url("/simulations"),
            {"to": answered_number},
            headers=dict(headers),
        )
        for _ in range(CONCURRENT_REQUESTS)
    ]

    responses = run_concurrently(requests)

    assert len(acme.get("/calls").json) == 1
    created = [response for response in responses if response.status_code == 201]
    assert len({response.data for response in created}) == 1
    assert sum("Idempotency-Replayed" not in response.headers for response in created) == 1
    for response in responses:
        if response not in created:
            assert_error(response, "idempotency-in-progress")
            assert int(response.headers["Retry-After"]) > 0
    assert_replayed(
        created[0] if len(created) == 1 else _first_response(created),
        simulate_call(acme, answered_number, headers),
    )


def _first_response(responses: list[ApiResponse]) -> ApiResponse:
    return next(
        response for response in responses if "Idempotency-Replayed" not in response.headers
    )


def test_a_request_that_waits_too_long_for_the_first_one_returns_409(
    acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key = new_key_header()
    sender = f"{acme.key[:12]}/{acme.id}"
    first = (
        f'INSERT INTO "{acme.ref.schema}".idempotency_keys'
        " (id, tenant_id, api_key, key, request_hash)"
        f" VALUES ('{uuid4()}', '{acme.id}', '{sender}', '{key['Idempotency-Key']}', 'x')"
    )

    with locks.open_transaction(admin_db.database_url(), first):
        response = acme.post("/ai-profiles", PROFILE, headers=dict(key))

    assert_error(response, "idempotency-in-progress")
    assert int(response.headers["Retry-After"]) > 0
    assert acme.get("/ai-profiles").json == []


def test_one_of_several_concurrent_requests_takes_over_an_abandoned_key(
    app: Flask,
    acme: Tenant,
    world: Factory,
    answered_number: str,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = new_key_header()
    monkeypatch.setattr(calls, "start_simulation", lambda *_, **__: 1 / 0)
    send_crashing_request(app, acme, "/simulations", {"to": answered_number}, key)
    monkeypatch.undo()
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '121 s'")

    responses = run_concurrently(
        [
            partial(
                world.api(acme.key).post,
                acme.url("/simulations"),
                {"to": answered_number},
                headers=dict(key),
            )
            for _ in range(10)
        ]
    )

    [executed] = [
        response
        for response in responses
        if response.status_code == 201 and "Idempotency-Replayed" not in response.headers
    ]
    for response in responses:
        if response.status_code == 409:
            assert_error(response, "idempotency-in-progress")
            assert int(response.headers["Retry-After"]) > 0
        elif response is not executed:
            assert_replayed(executed, response)
    [call] = acme.get("/calls").json
    assert call["id"] == executed.json["call_id"]
    [(_, status, _, stored_response)] = idempotency_rows(db_snapshot, acme.ref.schema, key)
    assert (status, stored_response) == (201, executed.text)


def test_one_of_the_concurrent_requests_for_an_api_key_gets_its_secret(
    world: Factory, acme: Tenant
) -> None:
    headers = new_key_header()
    requests = [
        partial(
            world.api(acme.key).post, acme.url("/api-keys"), {"name": "one"}, headers=dict(headers)
        )
        for _ in range(CONCURRENT_REQUESTS)
    ]

    responses = run_concurrently(requests)

    [first] = [response for response in responses if response.status_code == 201]
    for response in responses:
        if response is not first:
            assert_error(response, "already-created")
            assert response.json["id"] == first.json["id"]
    names = [api_key["name"] for api_key in acme.get("/api-keys").json]
    assert names.count("one") == 1
