"""`Idempotency-Key`: a repeated request is executed once and gets the same response."""

from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from tests.support import admin_db, locks
from tests.support.api import Api, ApiResponse
from tests.support.concurrency import run_concurrently
from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.factories import (
    SYSTEM_PROMPT,
    Factory,
    Platform,
    Tenant,
    assert_created,
    fresh_number,
)
from tests.support.operations import Operation
from tests.support.processes import wait_until
from vca.jobs import queue
from vca.registry.idempotency.service import CLEANUP_JOB, RETENTION
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.calls.simulation import simulated_calls as calls

CONCURRENT_REQUESTS = 20
TENANT_PATH = "/api/tenants/{tenant_id}"
IDEMPOTENT_OPERATIONS = {
    "POST /api/tenants",
    "POST /api/dids",
    "POST /api/api-keys",
    f"POST {TENANT_PATH}/phone-numbers",
    f"POST {TENANT_PATH}/phone-numbers/{{phone_number_id}}/register",
    f"POST {TENANT_PATH}/privacy/export",
    f"POST {TENANT_PATH}/privacy/erase",
    f"POST {TENANT_PATH}/ai-profiles",
    f"POST {TENANT_PATH}/api-keys",
    f"POST {TENANT_PATH}/calls",
    f"POST {TENANT_PATH}/calls/{{call_id}}/dtmf",
    f"POST {TENANT_PATH}/calls/{{call_id}}/replay",
    f"POST {TENANT_PATH}/calls/{{call_id}}/say",
    f"POST {TENANT_PATH}/calls/{{call_id}}/transfer",
    f"POST {TENANT_PATH}/simulations",
    f"POST {TENANT_PATH}/telephony-accounts",
    *(
        f"POST {owner}/webhooks{path}"
        for owner in ("/api", TENANT_PATH)
        for path in (
            "",
            "/{webhook_id}/test",
            "/{webhook_id}/replay",
            "/{webhook_id}/deliveries/{delivery_id}/replay",
        )
    ),
}
PROFILE = {"system_prompt": SYSTEM_PROMPT}


def _new_key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def _assert_replayed(first: ApiResponse, repeated: ApiResponse) -> None:
    """Check that the repeated response equals the first one and is marked as replayed."""
    assert repeated.status_code == first.status_code, repeated.text
    assert repeated.data == first.data
    for name in ("Location", "Content-Type"):
        assert repeated.headers.get(name) == first.headers.get(name)
    assert "Idempotency-Replayed" not in first.headers
    assert repeated.headers["Idempotency-Replayed"] == "true"


def _assert_error(response: ApiResponse, code: str, status: int = 409) -> None:
    assert (response.status_code, response.json["code"]) == (status, code), response.text


def _rows(db_snapshot: SnapshotChecker, schema: str, key: dict[str, str]) -> list[tuple[Any, ...]]:
    return db_snapshot.rows(
        f'SELECT api_key, status, headers, answer FROM "{schema}".idempotency_keys WHERE key = %s',
        key["Idempotency-Key"],
    )


def _send_crashing_request(
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


# --- Repeated requests --------------------------------------------------------------------------


def test_exactly_the_listed_operations_take_an_idempotency_key(
    all_operations: list[Operation],
) -> None:
    operation_names = {
        operation.name for operation in all_operations if "Idempotency-Key" in operation.headers
    }

    assert operation_names == IDEMPOTENT_OPERATIONS


def test_a_repeated_request_is_executed_once_and_gets_the_same_bytes(
    acme: Tenant, platform: Platform, answered_number: str
) -> None:
    number, external_id = fresh_number(), uuid4().hex
    tenant = {"name": "Initech", "external_id": external_id}
    number_assignment = {"did_number": fresh_number(), "tenant_id": acme.id}
    cases: list[tuple[Api, str, dict[str, Any]]] = [
        (acme.api, acme.url("/phone-numbers"), {"did_number": number, "label": "Ünïcode"}),
        (acme.api, acme.url("/ai-profiles"), PROFILE),
        (acme.api, acme.url("/simulations"), {"to": answered_number}),
        (platform.api, "/api/tenants", tenant),
        (platform.api, "/api/dids", number_assignment),
    ]

    for api, url, body in cases:
        key = _new_key()
        first, repeated, third = (api.post(url, body, headers=dict(key)) for _ in range(3))
        assert first.status_code == 201, first.text
        _assert_replayed(first, repeated)
        _assert_replayed(first, third)

    assert [phone_number["did_number"] for phone_number in acme.get("/phone-numbers").json].count(
        number
    ) == 1
    assert (
        len(acme.get("/ai-profiles").json) == 2
    )  # one for the answered number, one from this test
    assert len(acme.get("/calls").json) == 1
    assert len(platform.api.get("/api/tenants", external_id=external_id).json) == 1


def test_a_key_with_different_bytes_in_the_body_returns_409(acme: Tenant) -> None:
    key = _new_key()
    url, data = acme.url("/ai-profiles"), b'{"system_prompt": "You answer."}'
    headers = {**key, "Content-Type": "application/json"}
    assert acme.api.send("POST", url, data=data, headers=headers).status_code == 201

    for other in (data + b" ", b'{"system_prompt": "You sell."}', b"nonsense"):
        response = acme.api.send("POST", url, data=other, headers=headers)
        _assert_error(response, "idempotency-key-reused")

    assert len(acme.get("/ai-profiles").json) == 1


def test_a_key_that_another_operation_used_returns_409(acme: Tenant) -> None:
    key = _new_key()
    assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))

    response = acme.post("/phone-numbers", {"did_number": fresh_number()}, headers=dict(key))

    _assert_error(response, "idempotency-key-reused")
    assert acme.get("/phone-numbers").json == []


def test_a_rejected_request_leaves_no_row_and_its_key_can_be_used_again(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key, claimed_number = _new_key(), globex.number()
    body = {"did_number": claimed_number["did_number"]}
    invalid = acme.post("/phone-numbers", {"did_number": 7}, headers=dict(key))
    assert invalid.status_code == 400
    first = acme.post("/phone-numbers", body, headers=dict(key))
    _assert_error(first, "number-already-claimed")
    assert _rows(db_snapshot, acme.ref.schema, key) == []

    profile = acme.post("/ai-profiles", PROFILE, headers=dict(key))

    assert profile.status_code == 201  # also for another operation


def test_other_operations_ignore_the_header(acme: Tenant) -> None:
    key, profile = _new_key(), acme.profile()
    url = acme.url(f"/ai-profiles/{profile['id']}")

    for greeting in ("One.", "Two."):
        response = acme.api.send("PATCH", url, json_body={"greeting": greeting}, headers=dict(key))
        assert response.json["greeting"] == greeting
        assert "Idempotency-Replayed" not in response.headers
    assert acme.api.send("GET", url, headers={"Idempotency-Key": "é"}).status_code == 200


def test_a_repeated_request_with_a_revoked_api_key_returns_401(
    acme: Tenant, world: Factory
) -> None:
    key, api_key = _new_key(), world.key(acme.id)
    client = world.api(api_key)
    assert client.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key)).status_code == 201
    key_id = client.get("/api/me").json["id"]

    acme.delete(f"/api-keys/{key_id}")

    response = client.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key))
    assert response.status_code == 401


# --- Values of the header -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["", "a" * 256, "é", "a\tb", "\x7f", "\xa0", "☎".encode().decode("latin-1")]
)
def test_an_invalid_key_returns_400_and_the_error_names_the_header(
    acme: Tenant, value: str
) -> None:
    for path, body in (("/ai-profiles", PROFILE), ("/simulations", {"to": fresh_number()})):
        response = acme.post(path, body, headers={"Idempotency-Key": value})

        _assert_error(response, "invalid-input", 400)
        [error] = response.json["errors"]
        assert (error["in"], error["pointer"]) == ("header", "/Idempotency-Key")
    assert acme.get("/ai-profiles").json == []


@pytest.mark.parametrize(
    "value", ["a", "a" * 255, '"quoted"', "a, b", "'; DROP TABLE calls; --", "%s%(key)s\\", "~!@#"]
)
def test_any_printable_ascii_text_is_a_valid_key(acme: Tenant, value: str) -> None:
    headers = {"Idempotency-Key": value}

    first, repeated = (acme.post("/ai-profiles", PROFILE, headers=dict(headers)) for _ in range(2))

    _assert_replayed(first, repeated)


def test_an_unreadable_body_is_rejected_with_a_key_as_without(acme: Tenant) -> None:
    url, headers = acme.url("/ai-profiles"), {**_new_key(), "Content-Type": "application/json"}

    chunked = {**headers, "Transfer-Encoding": "chunked"}
    compressed = {**headers, "Content-Encoding": "gzip"}

    assert acme.api.send("POST", url, data=b"{}", headers=chunked).status_code == 411
    assert acme.api.send("POST", url, data=b"{}", headers=compressed).status_code == 415
    large_body = b" " * (256 * 1024 + 1)
    assert acme.api.send("POST", url, data=large_body, headers=headers).status_code == 413


# --- Concurrent requests ------------------------------------------------------------------------


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
        headers = _new_key()
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
    headers = _new_key()
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
            _assert_error(response, "idempotency-in-progress")
            assert int(response.headers["Retry-After"]) > 0
    _assert_replayed(
        created[0] if len(created) == 1 else _first_response(created),
        _simulate(acme, answered_number, headers),
    )


def _first_response(responses: list[ApiResponse]) -> ApiResponse:
    return next(
        response for response in responses if "Idempotency-Replayed" not in response.headers
    )


def _simulate(acme: Tenant, to: str, headers: dict[str, str]) -> ApiResponse:
    return acme.post("/simulations", {"to": to}, headers=dict(headers))


def test_a_request_that_waits_too_long_for_the_first_one_returns_409(
    acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key = _new_key()
    sender = f"{acme.key[:12]}/{acme.id}"
    first = (
        f'INSERT INTO "{acme.ref.schema}".idempotency_keys'
        " (id, tenant_id, api_key, key, request_hash)"
        f" VALUES ('{uuid4()}', '{acme.id}', '{sender}', '{key['Idempotency-Key']}', 'x')"
    )

    with locks.open_transaction(admin_db.database_url(), first):
        response = acme.post("/ai-profiles", PROFILE, headers=dict(key))

    _assert_error(response, "idempotency-in-progress")
    assert int(response.headers["Retry-After"]) > 0
    assert acme.get("/ai-profiles").json == []


# --- Failures -----------------------------------------------------------------------------------


def test_a_killed_transaction_leaves_no_idempotency_key(
    acme: Tenant, platform: Platform, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key, number = _new_key(), fresh_number()
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
    assert _rows(db_snapshot, "public", key) == []
    # The circuit breaker is open for a moment.
    wait_until(lambda: acme.get("/phone-numbers").status_code == 200)
    assert platform.api.get("/api/dids", did_number=number).json == []
    assert send_request().status_code == 201


def test_a_crash_rolls_back_the_key_and_the_change(
    app: Flask, acme: Tenant, db_snapshot: SnapshotChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, create = _new_key(), ai_profiles.create

    def create_and_crash(*args: Any, **fields: Any) -> None:
        create(*args, **fields)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(ai_profiles, "create", create_and_crash)
    _send_crashing_request(app, acme, "/ai-profiles", PROFILE, key)
    monkeypatch.undo()

    assert _rows(db_snapshot, acme.ref.schema, key) == []
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
    key = _new_key()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the result of the call is unknown")

    monkeypatch.setattr(calls, "start_simulation", fail)
    _send_crashing_request(app, acme, "/simulations", {"to": answered_number}, key)
    monkeypatch.undo()

    assert _scheduled_cleanups(db_snapshot, acme) == 1
    waiting_response = _simulate(acme, answered_number, key)
    _assert_error(waiting_response, "idempotency-in-progress")
    assert int(waiting_response.headers["Retry-After"]) > 0
    _assert_error(
        acme.post("/simulations", {"to": fresh_number()}, headers=dict(key)),
        "idempotency-key-reused",
    )
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '119 s'")
    _assert_error(_simulate(acme, answered_number, key), "idempotency-in-progress")
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '121 s'")
    created = _simulate(acme, answered_number, key)

    assert created.status_code == 201
    _assert_replayed(created, _simulate(acme, answered_number, key))
    assert len(acme.get("/calls").json) == 1


def test_one_of_several_concurrent_requests_takes_over_an_abandoned_key(
    app: Flask, acme: Tenant, world: Factory, answered_number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = _new_key()
    monkeypatch.setattr(calls, "start_simulation", lambda *_, **__: 1 / 0)
    _send_crashing_request(app, acme, "/simulations", {"to": answered_number}, key)
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

    assert len(acme.get("/calls").json) == 1
    assert 201 in {response.status_code for response in responses}


def test_a_rejected_call_releases_its_key(
    acme: Tenant, answered_number: str, db_snapshot: SnapshotChecker
) -> None:
    key = _new_key()
    [number] = acme.get("/phone-numbers").json
    acme.patch(f"/phone-numbers/{number['id']}", {"mode": "closed"})
    assert _simulate(acme, answered_number, key).status_code == 409
    assert _rows(db_snapshot, acme.ref.schema, key) == []

    acme.patch(f"/phone-numbers/{number['id']}", {"mode": "agent"})

    assert _simulate(acme, answered_number, key).status_code == 201


def test_the_key_of_a_call_is_committed_before_the_call_is_placed(
    acme: Tenant,
    answered_number: str,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, claim_rows, start_simulation = _new_key(), [], calls.start_simulation

    def record_claim(*args: Any, **options: Any) -> Any:
        claim_rows.extend(_rows(db_snapshot, acme.ref.schema, key))
        return start_simulation(*args, **options)

    monkeypatch.setattr(calls, "start_simulation", record_claim)
    assert _simulate(acme, answered_number, key).status_code == 201

    [(_, status, _, stored_response)] = claim_rows
    assert (status, stored_response) == (None, None)
    [(_, status, _, stored_response)] = _rows(db_snapshot, acme.ref.schema, key)
    assert status == 201
    assert "Acme here." in stored_response


# --- Secrets ------------------------------------------------------------------------------------


def test_a_repeated_request_for_a_key_returns_its_id_and_never_its_secret(
    acme: Tenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    for api, url in ((acme.api, acme.url("/api-keys")), (platform.api, "/api/api-keys")):
        key, name = _new_key(), f"once {uuid4().hex}"
        first = assert_created(api.post(url, {"name": name}, headers=dict(key)))

        for _ in range(2):
            repeated = api.post(url, {"name": name}, headers=dict(key))
            _assert_error(repeated, "already-created")
            assert repeated.json["id"] == first["id"]
            assert first["key"] not in repeated.text
            assert repeated.headers["Idempotency-Replayed"] == "true"

        [row] = _rows(db_snapshot, "public", key)
        assert first["id"] in str(row)
        assert first["key"][13:] not in str(row)
        named_key_sql = "SELECT id FROM public.api_keys WHERE name = %s"
        assert [str(row[0]) for row in db_snapshot.rows(named_key_sql, name)] == [first["id"]]


def test_one_of_the_concurrent_requests_for_an_api_key_gets_its_secret(
    world: Factory, acme: Tenant
) -> None:
    headers = _new_key()
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
            _assert_error(response, "already-created")
            assert response.json["id"] == first.json["id"]
    names = [api_key["name"] for api_key in acme.get("/api-keys").json]
    assert names.count("one") == 1


# --- Tenants and API keys -----------------------------------------------------------------------


def test_an_idempotency_key_of_one_tenant_has_no_effect_for_another(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key = _new_key()
    acme_profile = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))
    before = db_snapshot.checksum(acme.id)

    globex_response = globex.post("/ai-profiles", PROFILE, headers=dict(key))
    foreign_response = globex.api.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key))

    assert assert_created(globex_response)["id"] != acme_profile["id"]
    assert "Idempotency-Replayed" not in globex_response.headers
    assert foreign_response.status_code == 404
    assert db_snapshot.checksum(acme.id) == before


def test_an_idempotency_key_has_no_effect_for_another_api_key(acme: Tenant, world: Factory) -> None:
    key = _new_key()
    first = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))

    second = world.api(world.key(acme.id)).post(
        acme.url("/ai-profiles"), PROFILE, headers=dict(key)
    )

    assert assert_created(second)["id"] != first["id"]


def test_the_row_of_a_platform_key_is_stored_in_the_tenant_of_the_path(
    acme: Tenant, globex: Tenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    key = _new_key()

    for tenant in (acme, globex):
        for path, body in (("/ai-profiles", PROFILE), ("/api-keys", {"name": "theirs"})):
            headers = {"Idempotency-Key": f"{key['Idempotency-Key']}{path}"}
            response = platform.api.post(tenant.url(path), body, headers=headers)
            assert response.status_code == 201, response.text

    headers = {"Idempotency-Key": f"{key['Idempotency-Key']}/ai-profiles"}
    for tenant in (acme, globex):
        [(sender, *_)] = _rows(db_snapshot, schema_of(tenant.id), headers)
        assert sender.startswith(platform.key[:12])
        assert len(tenant.get("/ai-profiles").json) == 1
    assert _rows(db_snapshot, "public", headers) == []


# --- Cleanup ------------------------------------------------------------------------------------


def _scheduled_cleanups(db_snapshot: SnapshotChecker, tenant: Tenant | None) -> int:
    lock = f"{tenant.id if tenant else ''}:{CLEANUP_JOB}"
    count_sql = (
        "SELECT count(*) FROM jobs.procrastinate_jobs"
        " WHERE queueing_lock = %s AND status = 'todo' AND scheduled_at > now() + interval '23 h'"
    )
    [(count,)] = db_snapshot.rows(count_sql, lock)
    return int(count)


def test_one_job_of_each_tenant_deletes_keys_after_a_day(
    acme: Tenant, globex: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    old_key, new_key = _new_key(), _new_key()
    assert _scheduled_cleanups(db_snapshot, acme) == 0
    first = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(old_key)))
    assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(new_key)))
    assert_created(globex.post("/ai-profiles", PROFILE, headers=dict(old_key)))
    assert _scheduled_cleanups(db_snapshot, acme) == 1
    world.sql(
        acme,
        "UPDATE idempotency_keys SET created_at = now() - interval '24 h'"
        f" WHERE key = '{old_key['Idempotency-Key']}'",
    )

    assert world.run_jobs(acme, include_scheduled=True) == [CLEANUP_JOB]

    assert _rows(db_snapshot, acme.ref.schema, old_key) == []
    assert len(_rows(db_snapshot, acme.ref.schema, new_key)) == 1
    assert len(_rows(db_snapshot, globex.ref.schema, old_key)) == 1
    assert _scheduled_cleanups(db_snapshot, acme) == 1  # for the remaining row
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '25 h'")
    assert world.run_jobs(acme, include_scheduled=True) == [CLEANUP_JOB]
    assert _scheduled_cleanups(db_snapshot, acme) == 0
    repeated = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(old_key)))
    assert repeated["id"] != first["id"]


def test_the_cleanup_job_deletes_keys_of_the_platform(
    app: Flask, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    key = _new_key()
    assert_created(platform.api.post("/api/tenants", {"name": "Swept"}, headers=dict(key)))
    assert _scheduled_cleanups(db_snapshot, None) == 1
    db_snapshot.rows(
        "UPDATE public.idempotency_keys SET created_at = now() - %s WHERE key = %s",
        RETENTION,
        key["Idempotency-Key"],
    )

    queue.TASKS[CLEANUP_JOB]()

    assert _rows(db_snapshot, "public", key) == []
    assert _scheduled_cleanups(db_snapshot, None) == 1
