"""A failed request releases its idempotency key, unless its effect is unknown."""

from functools import partial
from typing import Any

import pytest
from flask import Flask

from tests.integration.api.idempotency.conftest import (
    PROFILE,
    assert_error,
    assert_replayed,
    idempotency_rows,
    new_key_header,
    scheduled_cleanups,
    send_crashing_request,
    simulate_call,
)
from tests.support import admin_db, locks
from tests.support.concurrency import run_concurrently
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.processes import wait_until
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.calls.simulation import simulated_calls as calls


def test_a_killed_transaction_leaves_no_idempotency_key(
    acme: Tenant, platform: Platform, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key, number = new_key_header(), fresh_number()
    insert_number = (
        "INSERT INTO public.dids (did_number, tenant_id, state)"
        f" VALUES ('{number}', '{acme.id}', 'assigned')"
    )
    send_request = partial(
        world.api(platform.key).post,
        "/api/dids",
        {"did_number": number, "tenant_id": acme.id},
        headers=dict(key),
    )

    def terminate_waiting_backend() -> None:
        with locks.open_transaction(admin_db.database_url(), insert_number) as lock_holder:
            started.append(True)
            [pid] = wait_until(lambda: locks.waiting_pids(lock_holder))
            locks.terminate_backend(lock_holder, pid)

    def send_and_get_status() -> int:
        wait_until(lambda: started)
        return send_request().status_code

    started: list[bool] = []
    statuses = run_concurrently([terminate_waiting_backend, send_and_get_status])

    assert statuses[1] == 503
    assert idempotency_rows(db_snapshot, "public", key) == []
    # The circuit breaker is open for a moment.
    wait_until(lambda: acme.get("/phone-numbers").status_code == 200)
    assert platform.api.get("/api/dids", did_number=number).json == []
    assert send_request().status_code == 201


def test_a_crash_rolls_back_the_key_and_the_change(
    app: Flask, acme: Tenant, db_snapshot: SnapshotChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, create = new_key_header(), ai_profiles.create

    def create_and_crash(*args: Any, **fields: Any) -> None:
        create(*args, **fields)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(ai_profiles, "create", create_and_crash)
    send_crashing_request(app, acme, "/ai-profiles", PROFILE, key)
    monkeypatch.undo()

    assert idempotency_rows(db_snapshot, acme.ref.schema, key) == []
    assert acme.get("/ai-profiles").json == []
    assert acme.post("/ai-profiles", PROFILE, headers=dict(key)).status_code == 201


def test_a_call_whose_process_crashed_is_placed_again_after_two_minutes(
    app: Flask,
    acme: Tenant,
    world: Factory,
    answered_number: str,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = new_key_header()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the result of the call is unknown")

    monkeypatch.setattr(calls, "start_simulation", fail)
    send_crashing_request(app, acme, "/simulations", {"to": answered_number}, key)
    monkeypatch.undo()

    assert scheduled_cleanups(db_snapshot, acme) == 1
    waiting_response = simulate_call(acme, answered_number, key)
    assert_error(waiting_response, "idempotency-in-progress")
    assert int(waiting_response.headers["Retry-After"]) > 0
    assert_error(
        acme.post("/simulations", {"to": fresh_number()}, headers=dict(key)),
        "idempotency-key-reused",
    )
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '119 s'")
    assert_error(simulate_call(acme, answered_number, key), "idempotency-in-progress")
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '121 s'")
    created = simulate_call(acme, answered_number, key)

    assert created.status_code == 201
    assert_replayed(created, simulate_call(acme, answered_number, key))
    assert len(acme.get("/calls").json) == 1


def test_a_rejected_call_releases_its_key(
    acme: Tenant, answered_number: str, db_snapshot: SnapshotChecker
) -> None:
    key = new_key_header()
    [number] = acme.get("/phone-numbers").json
    acme.patch(f"/phone-numbers/{number['id']}", {"is_active": False})
    assert simulate_call(acme, answered_number, key).status_code == 409
    assert idempotency_rows(db_snapshot, acme.ref.schema, key) == []

    acme.patch(f"/phone-numbers/{number['id']}", {"is_active": True})

    assert simulate_call(acme, answered_number, key).status_code == 201


def test_the_key_of_a_call_is_committed_before_the_call_is_placed(
    acme: Tenant,
    answered_number: str,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, claim_rows, start_simulation = new_key_header(), [], calls.start_simulation

    def record_claim(*args: Any, **options: Any) -> Any:
        claim_rows.extend(idempotency_rows(db_snapshot, acme.ref.schema, key))
        return start_simulation(*args, **options)

    monkeypatch.setattr(calls, "start_simulation", record_claim)
    assert simulate_call(acme, answered_number, key).status_code == 201

    [(_, status, _, stored_response)] = claim_rows
    assert (status, stored_response) == (None, None)
    [(_, status, _, stored_response)] = idempotency_rows(db_snapshot, acme.ref.schema, key)
    assert status == 201
    assert "Acme here." in stored_response
