"""`Idempotency-Key`: the same key and body answer the same, once executed; and nobody else's."""

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

MANY = 20
T = "/api/tenants/{tenant_id}"
TAKING = {
    "POST /api/tenants",
    "POST /api/dids",
    "POST /api/api-keys",
    f"POST {T}/phone-numbers",
    f"POST {T}/phone-numbers/{{phone_number_id}}/register",
    f"POST {T}/privacy/export",
    f"POST {T}/privacy/erase",
    f"POST {T}/ai-profiles",
    f"POST {T}/api-keys",
    f"POST {T}/calls",
    f"POST {T}/calls/{{call_id}}/dtmf",
    f"POST {T}/calls/{{call_id}}/replay",
    f"POST {T}/calls/{{call_id}}/say",
    f"POST {T}/calls/{{call_id}}/transfer",
    f"POST {T}/simulations",
    f"POST {T}/telephony-accounts",
    *(
        f"POST {owner}/webhooks{path}"
        for owner in ("/api", T)
        for path in (
            "",
            "/{webhook_id}/test",
            "/{webhook_id}/replay",
            "/{webhook_id}/deliveries/{delivery_id}/replay",
        )
    ),
}
PROFILE = {"system_prompt": SYSTEM_PROMPT}


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def _same(first: ApiResponse, again: ApiResponse) -> None:
    """The repetition is the first answer, byte for byte, and says that it is one."""
    assert again.status_code == first.status_code, again.text
    assert again.data == first.data
    for name in ("Location", "Content-Type"):
        assert again.headers.get(name) == first.headers.get(name)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"


def _refused(answer: ApiResponse, code: str, status: int = 409) -> None:
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text


def _rows(evidence: SnapshotChecker, schema: str, key: dict[str, str]) -> list[tuple[Any, ...]]:
    return evidence.rows(
        f'SELECT api_key, status, headers, answer FROM "{schema}".idempotency_keys WHERE key = %s',
        key["Idempotency-Key"],
    )


def _crash(app: Flask, tenant: Tenant, path: str, body: Any, key: dict[str, str]) -> None:
    """Send what ends in a 500, which no operation documents."""
    headers = {"Authorization": f"Bearer {tenant.key}", **key}
    answer = app.test_client().post(tenant.url(path), json=body, headers=headers)
    assert answer.status_code == 500


@pytest.fixture
def answered_number(acme: Tenant) -> str:
    """A number of acme's that an agent answers."""
    acme.profile(greeting="Acme here.")
    number: str = acme.number()["did_number"]
    return number


# --- Repeated -----------------------------------------------------------------------------------


def test_every_operation_that_creates_takes_a_key_and_no_other_does(
    all_operations: list[Operation],
) -> None:
    taking = {
        operation.name for operation in all_operations if "Idempotency-Key" in operation.headers
    }

    assert taking == TAKING


def test_a_repeated_request_is_answered_byte_for_byte_and_done_once(
    acme: Tenant, platform: Platform, answered_number: str
) -> None:
    number, external_id = fresh_number(), uuid4().hex
    tenant = {"name": "Initech", "external_id": external_id}
    assigned = {"did_number": fresh_number(), "tenant_id": acme.id}
    asked: list[tuple[Api, str, dict[str, Any]]] = [
        (acme.api, acme.url("/phone-numbers"), {"did_number": number, "label": "Ünïcode"}),
        (acme.api, acme.url("/ai-profiles"), PROFILE),
        (acme.api, acme.url("/simulations"), {"to": answered_number}),
        (platform.api, "/api/tenants", tenant),
        (platform.api, "/api/dids", assigned),
    ]

    for api, url, body in asked:
        key = _key()
        first, again, third = (api.post(url, body, headers=dict(key)) for _ in range(3))
        assert first.status_code == 201, first.text
        _same(first, again)
        _same(first, third)

    assert [each["did_number"] for each in acme.get("/phone-numbers").json].count(number) == 1
    assert len(acme.get("/ai-profiles").json) == 2  # the ringable one's, and one more
    assert len(acme.get("/calls").json) == 1
    assert len(platform.api.get("/api/tenants", external_id=external_id).json) == 1


def test_the_body_is_compared_as_it_was_sent_and_another_one_is_409(acme: Tenant) -> None:
    key = _key()
    url, data = acme.url("/ai-profiles"), b'{"system_prompt": "You answer."}'
    headers = {**key, "Content-Type": "application/json"}
    assert acme.api.send("POST", url, data=data, headers=headers).status_code == 201

    for other in (data + b" ", b'{"system_prompt": "You sell."}', b"nonsense"):
        answer = acme.api.send("POST", url, data=other, headers=headers)
        _refused(answer, "idempotency-key-reused")

    assert len(acme.get("/ai-profiles").json) == 1


def test_a_key_of_one_operation_is_409_at_another(acme: Tenant) -> None:
    key = _key()
    assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))

    answer = acme.post("/phone-numbers", {"did_number": fresh_number()}, headers=dict(key))

    _refused(answer, "idempotency-key-reused")
    assert acme.get("/phone-numbers").json == []


def test_a_refused_request_leaves_no_trace_and_the_retry_is_executed_afresh(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key, taken = _key(), globex.number()
    body = {"did_number": taken["did_number"]}
    invalid = acme.post("/phone-numbers", {"did_number": 7}, headers=dict(key))
    assert invalid.status_code == 400
    first = acme.post("/phone-numbers", body, headers=dict(key))
    _refused(first, "number-already-claimed")
    assert _rows(db_snapshot, acme.ref.schema, key) == []

    profile = acme.post("/ai-profiles", PROFILE, headers=dict(key))

    assert profile.status_code == 201  # the key was free again, for anything


def test_on_any_other_operation_the_header_means_nothing(acme: Tenant) -> None:
    key, profile = _key(), acme.profile()
    url = acme.url(f"/ai-profiles/{profile['id']}")

    for greeting in ("One.", "Two."):
        answer = acme.api.send("PATCH", url, json_body={"greeting": greeting}, headers=dict(key))
        assert answer.json["greeting"] == greeting
        assert "Idempotency-Replayed" not in answer.headers
    assert acme.api.send("GET", url, headers={"Idempotency-Key": "é"}).status_code == 200


def test_a_repetition_is_still_asked_for_its_key_and_scope(acme: Tenant, world: Factory) -> None:
    key, own = _key(), world.key(acme.id)
    holder = world.api(own)
    assert holder.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key)).status_code == 201
    mine = holder.get("/api/me").json["id"]

    acme.delete(f"/api-keys/{mine}")

    answer = holder.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key))
    assert answer.status_code == 401


# --- Hostile headers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["", "a" * 256, "é", "a\tb", "\x7f", "\xa0", "☎".encode().decode("latin-1")]
)
def test_what_is_no_key_is_400_that_names_the_header(acme: Tenant, value: str) -> None:
    for path, body in (("/ai-profiles", PROFILE), ("/simulations", {"to": fresh_number()})):
        answer = acme.post(path, body, headers={"Idempotency-Key": value})

        _refused(answer, "invalid-input", 400)
        [error] = answer.json["errors"]
        assert (error["in"], error["pointer"]) == ("header", "/Idempotency-Key")
    assert acme.get("/ai-profiles").json == []


@pytest.mark.parametrize(
    "value", ["a", "a" * 255, '"quoted"', "a, b", "'; DROP TABLE calls; --", "%s%(key)s\\", "~!@#"]
)
def test_any_printable_text_is_a_key(acme: Tenant, value: str) -> None:
    headers = {"Idempotency-Key": value}

    first, again = (acme.post("/ai-profiles", PROFILE, headers=dict(headers)) for _ in range(2))

    _same(first, again)


def test_a_body_that_the_parser_refuses_is_refused_alike_under_a_key(acme: Tenant) -> None:
    url, headers = acme.url("/ai-profiles"), {**_key(), "Content-Type": "application/json"}

    chunked = {**headers, "Transfer-Encoding": "chunked"}
    zipped = {**headers, "Content-Encoding": "gzip"}

    assert acme.api.send("POST", url, data=b"{}", headers=chunked).status_code == 411
    assert acme.api.send("POST", url, data=b"{}", headers=zipped).status_code == 415
    big = b" " * (256 * 1024 + 1)
    assert acme.api.send("POST", url, data=big, headers=headers).status_code == 413


# --- At the same time ---------------------------------------------------------------------------


def test_of_twenty_equal_requests_at_once_one_is_executed_and_all_are_answered_alike(
    world: Factory, acme: Tenant, platform: Platform
) -> None:
    external_id = uuid4().hex
    account = {"account_id": "acme", "secret": "sixteen-characters-or-more"}
    asked = [
        (acme.key, acme.url("/telephony-accounts"), {"provider_type": "fake", "fields": account}),
        (acme.key, acme.url("/ai-profiles"), PROFILE),
        (platform.key, "/api/tenants", {"name": "Hooli", "external_id": external_id}),
    ]

    for key, url, body in asked:
        headers = _key()
        doings = [
            partial(world.api(key).post, url, body, headers=dict(headers)) for _ in range(MANY)
        ]
        answers = run_concurrently(doings)

        assert {answer.status_code for answer in answers} == {201}, url
        assert len({answer.data for answer in answers}) == 1
        assert len({answer.headers.get("Location") for answer in answers}) == 1
        assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1

    assert len(acme.get("/telephony-accounts").json) == 1
    assert len(acme.get("/ai-profiles").json) == 1
    assert len(platform.api.get("/api/tenants", external_id=external_id).json) == 1


def test_of_twenty_equal_calls_at_once_one_rings_and_the_others_are_told_to_wait_or_the_same(
    world: Factory, acme: Tenant, answered_number: str
) -> None:
    headers = _key()
    doings = [
        partial(
            world.api(acme.key).post,
            acme.url("/simulations"),
            {"to": answered_number},
            headers=dict(headers),
        )
        for _ in range(MANY)
    ]

    answers = run_concurrently(doings)

    assert len(acme.get("/calls").json) == 1
    rang = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.data for answer in rang}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in rang) == 1
    for answer in answers:
        if answer not in rang:
            _refused(answer, "idempotency-in-progress")
            assert int(answer.headers["Retry-After"]) > 0
    _same(rang[0] if len(rang) == 1 else _first(rang), _asked_again(acme, answered_number, headers))


def _first(answers: list[ApiResponse]) -> ApiResponse:
    return next(each for each in answers if "Idempotency-Replayed" not in each.headers)


def _asked_again(acme: Tenant, to: str, headers: dict[str, str]) -> ApiResponse:
    return acme.post("/simulations", {"to": to}, headers=dict(headers))


def test_a_request_that_waits_too_long_for_the_first_is_409(
    acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key = _key()
    sender = f"{acme.key[:12]}/{acme.id}"
    first = (
        f'INSERT INTO "{acme.ref.schema}".idempotency_keys'
        " (id, tenant_id, api_key, key, request_hash)"
        f" VALUES ('{uuid4()}', '{acme.id}', '{sender}', '{key['Idempotency-Key']}', 'x')"
    )

    with locks.open_transaction(admin_db.database_url(), first):
        answer = acme.post("/ai-profiles", PROFILE, headers=dict(key))

    _refused(answer, "idempotency-in-progress")
    assert int(answer.headers["Retry-After"]) > 0
    assert acme.get("/ai-profiles").json == []


# --- Cut short ----------------------------------------------------------------------------------


def test_a_transaction_that_is_killed_takes_its_key_along(
    acme: Tenant, platform: Platform, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key, number = _key(), fresh_number()
    claimed = (
        "INSERT INTO public.dids (did_number, tenant_id, state)"
        f" VALUES ('{number}', '{acme.id}', 'assigned')"
    )
    ask = partial(
        world.api(platform.key).post,
        "/api/dids",
        {"did_number": number, "tenant_id": acme.id},
        headers=dict(key),
    )

    def kill() -> None:
        with locks.open_transaction(admin_db.database_url(), claimed) as holder:
            went.append(True)
            [pid] = wait_until(lambda: locks.waiting_pids(holder))
            locks.terminate_backend(holder, pid)

    def asked() -> int:
        wait_until(lambda: went)
        return ask().status_code

    went: list[bool] = []
    statuses = run_concurrently([kill, asked])

    assert statuses[1] == 503
    assert _rows(db_snapshot, "public", key) == []
    wait_until(lambda: acme.get("/phone-numbers").status_code == 200)  # the breaker has closed
    assert platform.api.get("/api/dids", did_number=number).json == []
    assert ask().status_code == 201


def test_a_crash_rolls_the_key_back_with_what_was_done(
    app: Flask, acme: Tenant, db_snapshot: SnapshotChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, create = _key(), ai_profiles.create

    def crash(*args: Any, **fields: Any) -> None:
        create(*args, **fields)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(ai_profiles, "create", crash)
    _crash(app, acme, "/ai-profiles", PROFILE, key)
    monkeypatch.undo()

    assert _rows(db_snapshot, acme.ref.schema, key) == []
    assert acme.get("/ai-profiles").json == []
    assert acme.post("/ai-profiles", PROFILE, headers=dict(key)).status_code == 201


def test_a_call_whose_process_died_is_in_progress_for_a_minute_and_then_made_again(
    app: Flask,
    acme: Tenant,
    world: Factory,
    answered_number: str,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = _key()

    def die(*_: Any, **__: Any) -> None:
        raise RuntimeError("nobody knows what was done")

    monkeypatch.setattr(calls, "start_simulation", die)
    _crash(app, acme, "/simulations", {"to": answered_number}, key)
    monkeypatch.undo()

    assert _sweeps(db_snapshot, acme) == 1
    waiting = _asked_again(acme, answered_number, key)
    _refused(waiting, "idempotency-in-progress")
    assert int(waiting.headers["Retry-After"]) > 0
    _refused(
        acme.post("/simulations", {"to": fresh_number()}, headers=dict(key)),
        "idempotency-key-reused",
    )
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '119 s'")
    _refused(_asked_again(acme, answered_number, key), "idempotency-in-progress")
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '121 s'")
    made_now = _asked_again(acme, answered_number, key)

    assert made_now.status_code == 201
    _same(made_now, _asked_again(acme, answered_number, key))
    assert len(acme.get("/calls").json) == 1


def test_an_abandoned_key_is_taken_over_by_one_of_many(
    app: Flask, acme: Tenant, world: Factory, answered_number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = _key()
    monkeypatch.setattr(calls, "start_simulation", lambda *_, **__: 1 / 0)
    _crash(app, acme, "/simulations", {"to": answered_number}, key)
    monkeypatch.undo()
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '121 s'")

    answers = run_concurrently(
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
    assert 201 in {answer.status_code for answer in answers}


def test_a_call_that_is_refused_gives_its_key_back(
    acme: Tenant, answered_number: str, db_snapshot: SnapshotChecker
) -> None:
    key = _key()
    [number] = acme.get("/phone-numbers").json
    acme.patch(f"/phone-numbers/{number['id']}", {"mode": "closed"})
    assert _asked_again(acme, answered_number, key).status_code == 409
    assert _rows(db_snapshot, acme.ref.schema, key) == []

    acme.patch(f"/phone-numbers/{number['id']}", {"mode": "agent"})

    assert _asked_again(acme, answered_number, key).status_code == 201


def test_the_claim_of_a_call_is_written_before_it_is_made(
    acme: Tenant,
    answered_number: str,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, seen, simulate = _key(), [], calls.start_simulation

    def look(*args: Any, **options: Any) -> Any:
        seen.extend(_rows(db_snapshot, acme.ref.schema, key))
        return simulate(*args, **options)

    monkeypatch.setattr(calls, "start_simulation", look)
    assert _asked_again(acme, answered_number, key).status_code == 201

    [(_, status, _, answer)] = seen
    assert (status, answer) == (None, None)
    [(_, status, _, answer)] = _rows(db_snapshot, acme.ref.schema, key)
    assert status == 201
    assert "Acme here." in answer


# --- Secrets ------------------------------------------------------------------------------------


def test_a_secret_that_is_shown_once_is_kept_nowhere_and_the_repetition_names_what_was_made(
    acme: Tenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    for api, url in ((acme.api, acme.url("/api-keys")), (platform.api, "/api/api-keys")):
        key, name = _key(), f"once {uuid4().hex}"
        first = assert_created(api.post(url, {"name": name}, headers=dict(key)))

        for _ in range(2):
            again = api.post(url, {"name": name}, headers=dict(key))
            _refused(again, "already-created")
            assert again.json["id"] == first["id"]
            assert first["key"] not in again.text
            assert again.headers["Idempotency-Replayed"] == "true"

        [row] = _rows(db_snapshot, "public", key)
        assert first["id"] in str(row)
        assert first["key"][13:] not in str(row)
        named = "SELECT id FROM public.api_keys WHERE name = %s"
        assert [str(row[0]) for row in db_snapshot.rows(named, name)] == [first["id"]]


def test_of_twenty_who_make_one_api_key_at_once_one_sees_its_secret(
    world: Factory, acme: Tenant
) -> None:
    headers = _key()
    doings = [
        partial(
            world.api(acme.key).post, acme.url("/api-keys"), {"name": "one"}, headers=dict(headers)
        )
        for _ in range(MANY)
    ]

    answers = run_concurrently(doings)

    [first] = [answer for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer is not first:
            _refused(answer, "already-created")
            assert answer.json["id"] == first.json["id"]
    names = [each["name"] for each in acme.get("/api-keys").json]
    assert names.count("one") == 1


# --- Whose --------------------------------------------------------------------------------------


def test_one_tenants_key_never_answers_another(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key = _key()
    ours = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))
    before = db_snapshot.checksum(acme.id)

    theirs = globex.post("/ai-profiles", PROFILE, headers=dict(key))
    over_there = globex.api.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key))

    assert assert_created(theirs)["id"] != ours["id"]
    assert "Idempotency-Replayed" not in theirs.headers
    assert over_there.status_code == 404
    assert db_snapshot.checksum(acme.id) == before


def test_another_api_key_of_the_same_tenant_is_another_sender(acme: Tenant, world: Factory) -> None:
    key = _key()
    first = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))

    second = world.api(world.key(acme.id)).post(
        acme.url("/ai-profiles"), PROFILE, headers=dict(key)
    )

    assert assert_created(second)["id"] != first["id"]


def test_a_platform_keys_row_lies_in_the_tenant_of_the_path_and_counts_there_only(
    acme: Tenant, globex: Tenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    key = _key()

    for tenant in (acme, globex):
        for path, body in (("/ai-profiles", PROFILE), ("/api-keys", {"name": "theirs"})):
            headers = {"Idempotency-Key": f"{key['Idempotency-Key']}{path}"}
            answer = platform.api.post(tenant.url(path), body, headers=headers)
            assert answer.status_code == 201, answer.text

    headers = {"Idempotency-Key": f"{key['Idempotency-Key']}/ai-profiles"}
    for tenant in (acme, globex):
        [(sender, *_)] = _rows(db_snapshot, schema_of(tenant.id), headers)
        assert sender.startswith(platform.key[:12])
        assert len(tenant.get("/ai-profiles").json) == 1
    assert _rows(db_snapshot, "public", headers) == []


# --- Swept --------------------------------------------------------------------------------------


def _sweeps(evidence: SnapshotChecker, tenant: Tenant | None) -> int:
    lock = f"{tenant.id if tenant else ''}:{CLEANUP_JOB}"
    waiting = (
        "SELECT count(*) FROM jobs.procrastinate_jobs"
        " WHERE queueing_lock = %s AND status = 'todo' AND scheduled_at > now() + interval '23 h'"
    )
    [(found,)] = evidence.rows(waiting, lock)
    return int(found)


def test_what_was_kept_is_deleted_after_a_day_by_one_job_of_its_tenant(
    acme: Tenant, globex: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    old, new = _key(), _key()
    assert _sweeps(db_snapshot, acme) == 0
    first = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(old)))
    assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(new)))
    assert_created(globex.post("/ai-profiles", PROFILE, headers=dict(old)))
    assert _sweeps(db_snapshot, acme) == 1
    world.sql(
        acme,
        "UPDATE idempotency_keys SET created_at = now() - interval '24 h'"
        f" WHERE key = '{old['Idempotency-Key']}'",
    )

    assert world.run_jobs(acme, include_scheduled=True) == [CLEANUP_JOB]

    assert _rows(db_snapshot, acme.ref.schema, old) == []
    assert len(_rows(db_snapshot, acme.ref.schema, new)) == 1
    assert len(_rows(db_snapshot, globex.ref.schema, old)) == 1
    assert _sweeps(db_snapshot, acme) == 1  # for the one that is left
    world.sql(acme, "UPDATE idempotency_keys SET created_at = now() - interval '25 h'")
    assert world.run_jobs(acme, include_scheduled=True) == [CLEANUP_JOB]
    assert _sweeps(db_snapshot, acme) == 0
    again = assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(old)))
    assert again["id"] != first["id"]


def test_the_platforms_rows_are_swept_as_well(
    app: Flask, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    key = _key()
    assert_created(platform.api.post("/api/tenants", {"name": "Swept"}, headers=dict(key)))
    assert _sweeps(db_snapshot, None) == 1
    db_snapshot.rows(
        "UPDATE public.idempotency_keys SET created_at = now() - %s WHERE key = %s",
        RETENTION,
        key["Idempotency-Key"],
    )

    queue.TASKS[CLEANUP_JOB]()

    assert _rows(db_snapshot, "public", key) == []
    assert _sweeps(db_snapshot, None) == 1
