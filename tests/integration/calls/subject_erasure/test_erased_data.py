"""Erasure of a data subject: afterwards no row and no file has their number, name or words."""

from sqlalchemy import text

from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import RealCallerCarrier, use_model
from tests.integration.calls.subject_erasure.conftest import erase_subject
from tests.support import admin_db, erasure_fixture
from tests.support.carrier_client import CarrierClient
from tests.support.db_snapshot import SnapshotChecker
from tests.support.erasure_fixture import ErasureSubject, all_stored_files, dump_rows
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.recordings import stored_files
from tests.support.usage import total_quantities


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

    erase_subject(tenant_with_subject_data, world, erasure_subject)

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

    erase_subject(tenant_with_subject_data, world, erasure_subject)
    erase_subject(tenant_with_subject_data, world, erasure_subject)

    assert byte_days > 0
    assert total_quantities(tenant_with_subject_data)["recording_byte_days"] == byte_days


def test_an_erasure_lists_the_places_where_data_remains(
    tenant_with_subject_data: Tenant, world: Factory, erasure_subject: ErasureSubject
) -> None:
    provider_call_ids = {
        call["provider_call_id"] for call in tenant_with_subject_data.get("/calls").json
    }

    erasure = erase_subject(tenant_with_subject_data, world, erasure_subject)

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
        erasure = erase_subject(acme, world, erasure_subject)
    finally:
        for schema in schemas:
            db_snapshot.rows(f"DROP SCHEMA {schema}")

    [entry] = [entry for entry in erasure["remains"] if entry["where"] == "replaced"]
    assert entry["detail"].endswith("before an import, kept until 2026-11-27.")


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

    erase_subject(tenant_with_subject_data, world, erasure_subject)

    assert db_snapshot.checksum(globex.id) == checksum_before
    assert stored_files(globex) == files_before
    assert len(erasure_subject.texts_naming(dump_rows(db_snapshot, globex))) > 10


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

    erase_subject(acme, world, erasure_subject)

    assert acme.get("/messages").json == []
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, acme)) == []


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

    erasure = erase_subject(acme, world, erasure_subject)

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
    erase_subject(acme, world, erasure_subject)
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, acme)) == []
