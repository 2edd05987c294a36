"""Erasure of a data subject: afterwards no row and no file has their number, name or words."""

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
    """Install and return a store that fails on demand."""
    original_store = storage.current_store()
    failing_store = FailingStore(original_store)
    storage.set_current_store(failing_store)
    yield failing_store
    storage.set_current_store(original_store)


@pytest.fixture
def db_snapshot(database_url: str) -> Iterator[SnapshotChecker]:
    """Return a reader of the database outside the product's sessions."""
    checker = SnapshotChecker(database_url)
    yield checker
    checker.close()


@pytest.fixture
def erasure_subject() -> ErasureSubject:
    """Return a caller whose number, name and phrase occur nowhere else."""
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
    """Return acme, with data of the subject in every place that stores any."""
    error_text = f"unknown: {erasure_subject.number}".encode()
    endpoint.behaviour = reply_with(
        b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(error_text), error_text)
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
    endpoint.behaviour = OK  # deliveries after the erasure store no error text
    return acme


def test_after_an_erasure_no_row_and_no_file_names_the_subject(
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

    response = tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    world.run_jobs(tenant_with_subject_data)

    assert response.status_code == 202
    erasure = tenant_with_subject_data.api.get(response.headers["Location"]).json
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


def test_an_erasure_leaves_the_fields_of_a_call_that_are_not_personal(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    calls = {call["id"]: call for call in tenant_with_subject_data.get("/calls").json}
    conversation = next(call for call in calls.values() if call["end_reason"] == "transferred")

    _erase_subject(tenant_with_subject_data, world, erasure_subject)

    unchanged_fields = (
        "direction",
        "status",
        "end_reason",
        "started_at",
        "answered_at",
        "ended_at",
        "tokens",
    )
    after = {call["id"]: call for call in tenant_with_subject_data.get("/calls").json}
    assert after.keys() == calls.keys()
    for id, call in after.items():
        assert [call[name] for name in unchanged_fields] == [
            calls[id][name] for name in unchanged_fields
        ]
    erased_call = after[conversation["id"]]
    assert (erased_call["caller_number"], erased_call["summary"], erased_call["data"]) == (
        None,
        None,
        None,
    )
    assert erased_call["duration_seconds"] == conversation["duration_seconds"]
    assert tenant_with_subject_data.get(f"/calls/{conversation['id']}/turns").json == []
    events = tenant_with_subject_data.get(f"/calls/{conversation['id']}/events").json
    assert [event["details"] for event in events] == [{}] * len(events) != []
    outbound = next(call for call in after.values() if call["direction"] == "outbound")
    assert (outbound["called_number"], outbound["metadata"]) == ("erased", {})


def test_erased_audio_is_metered_once_up_to_its_erasure(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    with admin_db.tenant_session(tenant_with_subject_data.ref) as session:
        sizes = session.scalars(text("SELECT size_bytes FROM recordings WHERE status = 'stored'"))
        byte_days = sum(sizes)

    _erase_subject(tenant_with_subject_data, world, erasure_subject)
    _erase_subject(tenant_with_subject_data, world, erasure_subject)

    assert byte_days > 0
    assert total_quantities(tenant_with_subject_data)["recording_byte_days"] == byte_days


def test_an_erasure_lists_the_places_where_data_remains(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    provider_call_ids = {
        call["provider_call_id"] for call in tenant_with_subject_data.get("/calls").json
    }

    erasure = _erase_subject(tenant_with_subject_data, world, erasure_subject)

    remains = {entry["where"]: entry for entry in erasure["remains"]}
    assert {"carriers", "backups", "model", "mails", "webhooks", "exports"} == set(remains)
    carrier_calls = remains["carriers"]["calls"]
    assert {call["provider_type"] for call in carrier_calls} == {"fake"}
    assert len(carrier_calls) == 3
    assert {call["provider_call_id"] for call in carrier_calls} <= provider_call_ids


def test_an_erasure_lists_a_replaced_schema_with_its_last_day(
    acme: Tenant,
    globex: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    schemas = [f"old_{tenant.ref.id.hex}_20261120093000" for tenant in (acme, globex)]
    for schema in schemas:
        db_snapshot.rows(f"CREATE SCHEMA {schema}")

    try:
        erasure = _erase_subject(acme, world, erasure_subject)
    finally:
        for schema in schemas:
            db_snapshot.rows(f"DROP SCHEMA {schema}")

    [entry] = [entry for entry in erasure["remains"] if entry["where"] == "replaced"]
    assert entry["detail"].endswith("before an import, kept until 2026-11-27.")


def test_a_request_repeated_after_the_erasure_places_no_second_call(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    erasure_subject: ErasureSubject,
) -> None:
    erasure_fixture.create_numbers(acme)
    number = acme.get("/phone-numbers").json[0]
    call_request = {
        "to": erasure_subject.number,
        "from_phone_number_id": number["id"],
        "metadata": {"n": erasure_subject.name},
    }
    key = {"Idempotency-Key": "once"}
    call = acme.post("/calls", call_request, headers=key).json
    world.run_jobs(acme)
    acme.post(f"/calls/{call['id']}/hangup")
    carrier_client.send_status("placed-1", "completed", to=number["did_number"])
    _erase_subject(acme, world, erasure_subject)

    repeated = acme.post("/calls", call_request, headers=key)

    assert (repeated.status_code, repeated.json["id"]) == (202, call["id"])
    assert (repeated.json["called_number"], repeated.json["metadata"]) == ("erased", {})
    world.run_jobs(acme)
    assert [operation for operation, _ in real_carrier.operations].count("place_call") == 1


def test_an_erasure_leaves_other_tenants_data_about_the_subject(
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
    checksum_before, files_before = db_snapshot.checksum(globex.id), stored_files(globex)

    _erase_subject(tenant_with_subject_data, world, erasure_subject)

    assert db_snapshot.checksum(globex.id) == checksum_before
    assert stored_files(globex) == files_before
    assert len(erasure_subject.texts_naming(dump_rows(db_snapshot, globex))) > 10


def test_a_live_call_is_erased_after_it_ends(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    agent_number, _ = erasure_fixture.create_numbers(acme)
    use_model(
        SequenceModel(
            [f"You are {erasure_subject.name}."],
            [f"Yes, {erasure_subject.phrase}."],
            erasure_fixture.NOTE_CALL_STEPS,
        )
    )
    state = carrier_client.ring(agent_number, "over", erasure_subject.number)["state"]
    carrier_client.send_status("over", "completed", state=state)
    state = carrier_client.ring(agent_number, "live", erasure_subject.number)["state"]
    state = carrier_client.say("live", state, f"I am {erasure_subject.name}")["state"]

    waiting_erasure = _erase_subject(acme, world, erasure_subject)
    reply = carrier_client.say("live", state, f"a {erasure_subject.phrase}")
    carrier_client.send_status("live", "completed", state=reply["state"])
    world.make_due(acme, "privacy.erase")
    world.run_jobs(acme)

    assert waiting_erasure["status"] == "waiting"
    assert waiting_erasure["removed"]["calls"] == 1
    assert spoken_text(reply) == f"Yes, {erasure_subject.phrase}."
    finished_erasure = acme.get(f"/privacy/erasures/{waiting_erasure['id']}").json
    assert (finished_erasure["status"], finished_erasure["removed"]["calls"]) == ("done", 2)
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, acme)) == []


def test_a_call_with_a_withheld_number_is_matched_by_the_number_in_its_message(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
) -> None:
    agent_number, _ = erasure_fixture.create_numbers(acme)
    message_arguments = {
        "name": erasure_subject.name,
        "number": erasure_subject.spoken_number,
        "reason": erasure_subject.phrase,
    }
    use_model(
        SequenceModel(
            [erasure_fixture.tool_call("take_message", **message_arguments)],
            erasure_fixture.NOTE_CALL_STEPS,
        )
    )
    state = carrier_client.ring(agent_number, "withheld", None)["state"]
    carrier_client.say(
        "withheld",
        state,
        f"{erasure_subject.name}, {erasure_subject.phrase}, {erasure_subject.spoken_number}",
    )
    carrier_client.send_status("withheld", "completed", state=state)

    _erase_subject(acme, world, erasure_subject)

    assert acme.get("/messages").json == []
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, acme)) == []


def test_a_call_after_the_erasure_request_is_not_erased(
    acme: Tenant, world: Factory, carrier_client: CarrierClient, erasure_subject: ErasureSubject
) -> None:
    agent_number, _ = erasure_fixture.create_numbers(acme)
    erasure_request = acme.post("/privacy/erase", {"number": erasure_subject.number}).json
    carrier_client.send_status(
        "new",
        "completed",
        state=carrier_client.ring(agent_number, "new", erasure_subject.number)["state"],
    )

    world.run_jobs(acme)

    assert acme.get(f"/privacy/erasures/{erasure_request['id']}").json["status"] == "done"
    [call] = acme.get("/calls").json
    assert call["caller_number"] == erasure_subject.number


def test_an_erasure_lists_configuration_with_the_number_and_leaves_it_unchanged(
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

    erasure = _erase_subject(acme, world, erasure_subject)

    [entry] = [entry for entry in erasure["remains"] if entry["where"] == "configuration"]
    assert entry["places"] == ["ai_profiles.transfer_targets", "phone_numbers.fallback_number"]
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
    _erase_subject(acme, world, erasure_subject)
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, acme)) == []


def test_erasing_an_own_number_returns_409_and_another_tenants_number_202(
    acme: Tenant, globex: Tenant
) -> None:
    acme_number, globex_number = acme.number()["did_number"], globex.number()["did_number"]

    own_number_response = acme.post("/privacy/erase", {"number": acme_number})
    foreign_number_response = acme.post("/privacy/erase", {"number": globex_number})

    assert own_number_response.status_code == 409
    assert own_number_response.json["code"] == "own-number"
    assert foreign_number_response.status_code == 202


def test_a_suspended_tenant_can_export_and_erase(
    acme: Tenant, platform: Platform, world: Factory, erasure_subject: ErasureSubject
) -> None:
    platform.api.patch(acme.url(), {"status": "suspended"})

    for operation in ("export", "erase"):
        response = acme.post(f"/privacy/{operation}", {"number": erasure_subject.number})
        assert response.status_code == 202
    assert acme.patch("/settings", {}).status_code == 403


@pytest.mark.parametrize("scope", ["read", "content", "write"])
def test_an_export_and_an_erasure_require_the_scope_admin(
    acme: Tenant, world: Factory, erasure_subject: ErasureSubject, scope: str
) -> None:
    api = world.api(world.key(acme.id, scopes=[scope]))

    for operation in ("export", "erase"):
        response = api.post(acme.url(f"/privacy/{operation}"), {"number": erasure_subject.number})
        assert (response.status_code, response.json["code"]) == (403, "scope-missing")


@pytest.mark.parametrize("body", [{}, {"number": "0044"}, {"number": "+1"}, {"number": None}])
def test_an_invalid_number_returns_400(acme: Tenant, body: dict[str, object]) -> None:
    for operation in ("export", "erase"):
        response = acme.post(f"/privacy/{operation}", body)
        assert response.status_code == 400
        assert response.json["errors"][0]["pointer"] == "/number"


def test_an_unreachable_store_delays_the_erasure(
    tenant_with_subject_data: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    failing_store: FailingStore,
    erasure_subject: ErasureSubject,
) -> None:
    failing_store.failure = StorageError("away", permanent=False)
    delayed_erasure = _erase_subject(tenant_with_subject_data, world, erasure_subject)
    assert delayed_erasure["status"] == "pending"
    select_arguments = (
        "SELECT args::text FROM jobs.procrastinate_jobs WHERE task_name = 'privacy.erase'"
    )
    assert (
        erasure_subject.texts_naming(args for (args,) in db_snapshot.rows(select_arguments)) == []
    )

    failing_store.failure = None
    world.make_due(tenant_with_subject_data, "privacy.erase")
    world.run_jobs(tenant_with_subject_data)

    assert (
        tenant_with_subject_data.get(f"/privacy/erasures/{delayed_erasure['id']}").json["status"]
        == "done"
    )
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []
    assert stored_files(tenant_with_subject_data) == []


@pytest.mark.parametrize(
    "step",
    ["erase_events", "erase_stored_responses", "erase_audio", "erase_calls", "erase_messages"],
)
def test_the_next_run_finishes_a_killed_erasure(
    tenant_with_subject_data: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    response = tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    request_id = UUID(response.json["id"])
    with monkeypatch.context() as patch:
        patch.setattr(call_erasure, step, kill_process)
        with pytest.raises(ProcessKilled):
            erasure.run_erasure(tenant_with_subject_data.ref, request_id=request_id)

    erasure.run_erasure(tenant_with_subject_data.ref, request_id=request_id)

    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []
    assert stored_files(tenant_with_subject_data) == []


def test_a_recording_that_is_fetched_after_the_erasure_is_deleted(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    erasure_subject: ErasureSubject,
) -> None:
    agent_number, _ = erasure_fixture.create_numbers(acme)
    carrier_client.send_status(
        "c",
        "completed",
        state=carrier_client.ring(agent_number, "c", erasure_subject.number)["state"],
    )
    erasure_request = acme.post("/privacy/erase", {"number": erasure_subject.number}).json
    erasure.run_erasure(acme.ref, request_id=UUID(erasure_request["id"]))
    real_carrier.add_recording("c", erasure_subject.phrase.encode())

    world.run_jobs(acme, include_scheduled=True)

    assert stored_files(acme) == []
    assert real_carrier.fetch_recording("c") is None
    [call] = acme.get("/calls").json
    assert call["recording"]["status"] == "deleted"


def _erase_subject(tenant: Tenant, world: Factory, subject: ErasureSubject) -> dict[str, Any]:
    """Request an erasure, run its job, and return the erasure."""
    response = tenant.post("/privacy/erase", {"number": subject.number})
    assert response.status_code == 202, response.text
    world.run_jobs(tenant)
    erasure: dict[str, Any] = tenant.api.get(response.headers["Location"]).json
    return erasure
