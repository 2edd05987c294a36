"""A caller is erased: a dump afterwards holds neither number nor name nor words."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes.http_receiver import OK, HttpReceiver, reply_with
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import RealCallerCarrier, use_model
from tests.support import admin_db, erasure_fixture, webhooks
from tests.support.carrier_client import CarrierClient, spoken_text
from tests.support.db_snapshot import SnapshotChecker
from tests.support.erasure_fixture import ErasureSubject, all_stored_files, dump_rows
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.recordings import FailingStore, ProcessKilled, kill_process, stored_files
from tests.support.usage import total_quantities
from vca.kit import storage
from vca.kit.storage import StorageError
from vca.tenant.privacy import call_erasure, erasure


@pytest.fixture
def failing_store(app: Flask) -> Iterator[FailingStore]:
    """The process's store, which fails from here on when it is told to."""
    before = storage.current_store()
    failing = FailingStore(before)
    storage.set_current_store(failing)
    yield failing
    storage.set_current_store(before)


@pytest.fixture
def db_snapshot(database_url: str) -> Iterator[SnapshotChecker]:
    """The database as nobody's session sees it."""
    found = SnapshotChecker(database_url)
    yield found
    found.close()


@pytest.fixture
def erasure_subject() -> ErasureSubject:
    """Somebody who calls."""
    return erasure_fixture.create_subject()


@pytest.fixture
def tenant_with_subject_data(
    world: Factory,
    acme: Tenant,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    endpoint: HttpReceiver,
    erasure_subject: ErasureSubject,
) -> Tenant:
    """Acme, with something of the canary in every place."""
    echo = f"unknown: {erasure_subject.number}".encode()
    endpoint.behaviour = reply_with(
        b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(echo), echo)
    )
    webhooks.register_webhook(acme, endpoint)
    erasure_fixture.create_subject_data(
        world,
        acme,
        carrier_client,
        real_carrier,
        erasure_subject,
        erasure_fixture.create_numbers(acme),
    )
    erasure_fixture.enqueue_jobs_naming(acme, erasure_subject)
    endpoint.behaviour = OK  # what it says after the erasure is after the erasure
    return acme


def test_a_dump_afterwards_holds_nothing_of_an_erased_caller(
    tenant_with_subject_data: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    before = erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data))
    assert {row.split()[0].rpartition(".")[2] for row in before} == {
        "calls",
        "call_events",
        "turns",
        "messages",
        "outbound_legs",
        "idempotency_keys",
        "webhook_deliveries",
        "procrastinate_jobs",
    }
    assert len(stored_files(tenant_with_subject_data)) == 2

    asked = tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    world.run_jobs(tenant_with_subject_data)

    assert asked.status_code == 202
    erasure = tenant_with_subject_data.api.get(asked.headers["Location"]).json
    assert erasure["status"] == "done"
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []
    assert stored_files(tenant_with_subject_data) == []
    assert (
        erasure_subject.texts_naming(
            path.read_bytes().decode("latin-1") for path in all_stored_files()
        )
        == []
    )
    removed = erasure["removed"]
    assert (removed["calls"], removed["recordings"], removed["messages"]) == (3, 2, 2)
    assert removed["turns"] == 5
    assert removed["jobs"] == 2
    assert removed["answers"] == 1
    assert removed["mentions"] >= 2


def test_what_is_no_persons_stays_on_record(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    calls = {call["id"]: call for call in tenant_with_subject_data.get("/calls").json}
    talk = next(call for call in calls.values() if call["end_reason"] == "transferred")

    _erase(tenant_with_subject_data, world, erasure_subject)

    same = ("direction", "status", "end_reason", "started_at", "answered_at", "ended_at", "tokens")
    after = {call["id"]: call for call in tenant_with_subject_data.get("/calls").json}
    assert after.keys() == calls.keys()
    for id, call in after.items():
        assert [call[name] for name in same] == [calls[id][name] for name in same]
    erased = after[talk["id"]]
    assert (erased["caller_number"], erased["summary"], erased["data"]) == (None, None, None)
    assert erased["duration_seconds"] == talk["duration_seconds"]
    assert tenant_with_subject_data.get(f"/calls/{talk['id']}/turns").json == []
    happened = tenant_with_subject_data.get(f"/calls/{talk['id']}/events").json
    assert [event["details"] for event in happened] == [{}] * len(happened) != []
    outbound = next(call for call in after.values() if call["direction"] == "outbound")
    assert (outbound["called_number"], outbound["metadata"]) == ("erased", {})


def test_audio_that_is_erased_was_kept_until_then_and_is_counted_once(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    with admin_db.tenant_session(tenant_with_subject_data.ref) as session:
        kept = session.scalars(text("SELECT size_bytes FROM recordings WHERE status = 'stored'"))
        byte_days = sum(kept)

    _erase(tenant_with_subject_data, world, erasure_subject)
    _erase(tenant_with_subject_data, world, erasure_subject)

    assert byte_days > 0
    assert total_quantities(tenant_with_subject_data)["recording_byte_days"] == byte_days


def test_the_answer_says_what_remains_where(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    carriers = {call["provider_call_id"] for call in tenant_with_subject_data.get("/calls").json}

    erasure = _erase(tenant_with_subject_data, world, erasure_subject)

    remains = {each["where"]: each for each in erasure["remains"]}
    assert {"carriers", "backups", "model", "mails", "webhooks", "exports"} == set(remains)
    named = remains["carriers"]["calls"]
    assert {call["provider_type"] for call in named} == {"fake"}
    assert len(named) == 3
    assert {call["provider_call_id"] for call in named} <= carriers


def test_a_copy_from_before_an_import_is_told_with_its_last_day(
    acme: Tenant,
    globex: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    own, another = (f"old_{tenant.ref.id.hex}_20261120093000" for tenant in (acme, globex))
    for schema in (own, another):
        db_snapshot.rows(f"CREATE SCHEMA {schema}")

    try:
        erasure = _erase(acme, world, erasure_subject)
    finally:
        for schema in (own, another):
            db_snapshot.rows(f"DROP SCHEMA {schema}")

    [copy] = [each for each in erasure["remains"] if each["where"] == "replaced"]
    assert copy["detail"].endswith("before an import, kept until 2026-11-27.")


def test_a_request_that_is_repeated_after_the_erasure_dials_nobody_again(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    erasure_subject: ErasureSubject,
) -> None:
    erasure_fixture.create_numbers(acme)
    number = acme.get("/phone-numbers").json[0]
    order = {
        "to": erasure_subject.number,
        "from_phone_number_id": number["id"],
        "metadata": {"n": erasure_subject.name},
    }
    key = {"Idempotency-Key": "once"}
    made = acme.post("/calls", order, headers=key).json
    world.run_jobs(acme)
    acme.post(f"/calls/{made['id']}/hangup")
    carrier_client.send_status("placed-1", "completed", to=number["did_number"])
    _erase(acme, world, erasure_subject)

    again = acme.post("/calls", order, headers=key)

    assert (again.status_code, again.json["id"]) == (202, made["id"])
    assert (again.json["called_number"], again.json["metadata"]) == ("erased", {})
    world.run_jobs(acme)
    assert [what for what, _ in real_carrier.operations].count("place_call") == 1


def test_another_tenant_that_knows_the_caller_keeps_all(
    tenant_with_subject_data: Tenant,
    globex: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    erasure_fixture.create_subject_data(
        world,
        globex,
        carrier_client,
        real_carrier,
        erasure_subject,
        erasure_fixture.create_numbers(globex),
    )
    erasure_fixture.enqueue_jobs_naming(globex, erasure_subject)
    before, audio = db_snapshot.checksum(globex.id), stored_files(globex)

    _erase(tenant_with_subject_data, world, erasure_subject)

    assert db_snapshot.checksum(globex.id) == before
    assert stored_files(globex) == audio
    assert len(erasure_subject.texts_naming(dump_rows(db_snapshot, globex))) > 10


def test_a_call_that_goes_on_is_erased_once_it_has_ended(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    by_day, _ = erasure_fixture.create_numbers(acme)
    use_model(
        SequenceModel(
            [f"You are {erasure_subject.name}."],
            [f"Yes, {erasure_subject.phrase}."],
            erasure_fixture.NOTE_CALL_STEPS,
        )
    )
    state = carrier_client.ring(by_day, "over", erasure_subject.number)["state"]
    carrier_client.send_status("over", "completed", state=state)
    state = carrier_client.ring(by_day, "live", erasure_subject.number)["state"]
    state = carrier_client.say("live", state, f"I am {erasure_subject.name}")["state"]

    waiting = _erase(acme, world, erasure_subject)
    during = carrier_client.say("live", state, f"a {erasure_subject.phrase}")
    carrier_client.send_status("live", "completed", state=during["state"])
    world.make_due(acme, "privacy.erase")
    world.run_jobs(acme)

    assert waiting["status"] == "waiting"
    assert waiting["removed"]["calls"] == 1
    assert spoken_text(during) == f"Yes, {erasure_subject.phrase}."
    done = acme.get(f"/privacy/erasures/{waiting['id']}").json
    assert (done["status"], done["removed"]["calls"]) == ("done", 2)
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, acme)) == []


def test_who_withheld_their_number_is_known_by_the_one_that_they_left(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    by_day, _ = erasure_fixture.create_numbers(acme)
    left = {
        "name": erasure_subject.name,
        "number": erasure_subject.spoken_number,
        "reason": erasure_subject.phrase,
    }
    use_model(
        SequenceModel(
            [erasure_fixture.tool_call("take_message", **left)], erasure_fixture.NOTE_CALL_STEPS
        )
    )
    state = carrier_client.ring(by_day, "withheld", None)["state"]
    carrier_client.say(
        "withheld",
        state,
        f"{erasure_subject.name}, {erasure_subject.phrase}, {erasure_subject.spoken_number}",
    )
    carrier_client.send_status("withheld", "completed", state=state)

    _erase(acme, world, erasure_subject)

    assert acme.get("/messages").json == []
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, acme)) == []


def test_whoever_calls_after_the_erasure_is_a_caller_as_any_other(
    acme: Tenant, world: Factory, carrier_client: CarrierClient, erasure_subject: ErasureSubject
) -> None:
    by_day, _ = erasure_fixture.create_numbers(acme)
    asked = acme.post("/privacy/erase", {"number": erasure_subject.number}).json
    carrier_client.send_status(
        "new",
        "completed",
        state=carrier_client.ring(by_day, "new", erasure_subject.number)["state"],
    )

    world.run_jobs(acme)

    assert acme.get(f"/privacy/erasures/{asked['id']}").json["status"] == "done"
    [call] = acme.get("/calls").json
    assert call["caller_number"] == erasure_subject.number


def test_what_the_tenant_has_set_up_is_named_and_left_as_it_is(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    acme.patch("/settings", {"home_country": "GB"})
    targets = {"jane": {"number": erasure_subject.number}}
    profile = acme.profile(
        transfer_targets=targets, tools=["transfer"], extract=erasure_fixture.EXTRACT_SCHEMA
    )
    number = acme.number(fallback_number=erasure_subject.number)

    erasure = _erase(acme, world, erasure_subject)

    [own] = [each for each in erasure["remains"] if each["where"] == "configuration"]
    assert own["places"] == ["ai_profiles.transfer_targets", "phone_numbers.fallback_number"]
    use_model(
        SequenceModel(
            [erasure_fixture.tool_call("transfer", target="jane")], erasure_fixture.NOTE_CALL_STEPS
        )
    )
    state = carrier_client.ring(number["did_number"], "c", fresh_number())["state"]
    assert (
        carrier_client.say("c", state, "Jane?")["actions"][-1]["number"] == erasure_subject.number
    )

    carrier_client.send_event("leg", "c", state, outcome="answered")
    carrier_client.send_status("c", "completed", state=state)
    acme.patch(f"/ai-profiles/{profile['id']}", {"transfer_targets": {}})
    acme.patch(f"/phone-numbers/{number['id']}", {"fallback_number": None})
    _erase(acme, world, erasure_subject)
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, acme)) == []


def test_the_tenants_own_number_is_nobodys_and_another_tenants_is_not_known(
    acme: Tenant, globex: Tenant
) -> None:
    own, theirs = acme.number()["did_number"], globex.number()["did_number"]

    refused = acme.post("/privacy/erase", {"number": own})
    foreign = acme.post("/privacy/erase", {"number": theirs})

    assert (refused.status_code, refused.json["code"]) == (409, "own-number")
    assert foreign.status_code == 202


def test_a_suspended_tenant_exports_and_erases(
    acme: Tenant, platform: Platform, world: Factory, erasure_subject: ErasureSubject
) -> None:
    platform.api.patch(acme.url(), {"status": "suspended"})

    for what in ("export", "erase"):
        assert acme.post(f"/privacy/{what}", {"number": erasure_subject.number}).status_code == 202
    assert acme.patch("/settings", {}).status_code == 403


@pytest.mark.parametrize("scope", ["read", "content", "write"])
def test_it_takes_the_scope_admin(
    acme: Tenant, world: Factory, erasure_subject: ErasureSubject, scope: str
) -> None:
    api = world.api(world.key(acme.id, scopes=[scope]))

    for what in ("export", "erase"):
        answer = api.post(acme.url(f"/privacy/{what}"), {"number": erasure_subject.number})
        assert (answer.status_code, answer.json["code"]) == (403, "scope-missing")


@pytest.mark.parametrize("body", [{}, {"number": "0044"}, {"number": "+1"}, {"number": None}])
def test_what_is_no_number_is_refused(acme: Tenant, body: dict[str, object]) -> None:
    for what in ("export", "erase"):
        answer = acme.post(f"/privacy/{what}", body)
        assert answer.status_code == 400
        assert answer.json["errors"][0]["pointer"] == "/number"


def test_a_store_that_is_away_delays_the_erasure(
    tenant_with_subject_data: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    failing_store: FailingStore,
    erasure_subject: ErasureSubject,
) -> None:
    failing_store.failure = StorageError("away", permanent=False)
    delayed = _erase(tenant_with_subject_data, world, erasure_subject)
    assert delayed["status"] == "pending"
    jobs = "SELECT args::text FROM jobs.procrastinate_jobs WHERE task_name = 'privacy.erase'"
    assert erasure_subject.texts_naming(args for (args,) in db_snapshot.rows(jobs)) == []

    failing_store.failure = None
    world.make_due(tenant_with_subject_data, "privacy.erase")
    world.run_jobs(tenant_with_subject_data)

    assert (
        tenant_with_subject_data.get(f"/privacy/erasures/{delayed['id']}").json["status"] == "done"
    )
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []
    assert stored_files(tenant_with_subject_data) == []


@pytest.mark.parametrize(
    "step",
    ["erase_events", "erase_stored_responses", "erase_audio", "erase_calls", "erase_messages"],
)
def test_an_erasure_that_is_killed_is_finished_by_the_next_run(
    tenant_with_subject_data: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    asked = tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number}).json
    with monkeypatch.context() as patched:
        patched.setattr(call_erasure, step, kill_process)
        with pytest.raises(ProcessKilled):
            erasure.run_erasure(tenant_with_subject_data.ref, request_id=UUID(asked["id"]))

    erasure.run_erasure(tenant_with_subject_data.ref, request_id=UUID(asked["id"]))

    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []
    assert stored_files(tenant_with_subject_data) == []


def test_a_recording_that_is_fetched_while_it_is_erased_is_not_kept(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    erasure_subject: ErasureSubject,
) -> None:
    by_day, _ = erasure_fixture.create_numbers(acme)
    carrier_client.send_status(
        "c", "completed", state=carrier_client.ring(by_day, "c", erasure_subject.number)["state"]
    )
    erasure_request = acme.post("/privacy/erase", {"number": erasure_subject.number}).json
    erasure.run_erasure(acme.ref, request_id=UUID(erasure_request["id"]))
    real_carrier.add_recording("c", erasure_subject.phrase.encode())

    world.run_jobs(acme, include_scheduled=True)

    assert stored_files(acme) == []
    assert real_carrier.fetch_recording("c") is None
    [call] = acme.get("/calls").json
    assert call["recording"]["status"] == "deleted"


def _erase(tenant: Tenant, world: Factory, who: ErasureSubject) -> dict[str, Any]:
    """The erasure after its job was done."""
    asked = tenant.post("/privacy/erase", {"number": who.number})
    assert asked.status_code == 202, asked.text
    world.run_jobs(tenant)
    found: dict[str, Any] = tenant.api.get(asked.headers["Location"]).json
    return found
