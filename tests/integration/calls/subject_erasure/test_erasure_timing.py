"""Erasures around live, later and repeated calls, and after outages and killed runs."""

from collections.abc import Iterator
from types import ModuleType
from uuid import UUID

import pytest
from flask import Flask

from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import RealCallerCarrier, use_model
from tests.integration.calls.subject_erasure.conftest import erase_subject
from tests.support import erasure_fixture
from tests.support.carrier_client import CarrierClient, spoken_text
from tests.support.db_snapshot import SnapshotChecker
from tests.support.erasure_fixture import ErasureSubject, dump_rows
from tests.support.factories import Factory, Tenant
from tests.support.recordings import FailingStore, ProcessKilled, kill_process, stored_files
from tests.support.services import app_services, use_services
from vca.kit.storage import StorageError
from vca.tenant.calls.core import subject_data, subject_records
from vca.tenant.idempotency import stored_responses
from vca.tenant.privacy import erasure
from vca.tenant.recordings import subject_audio
from vca.tenant.webhooks import subject_events


@pytest.fixture
def failing_store(app: Flask) -> Iterator[FailingStore]:
    """Install and return a store that fails on demand."""
    original_store = app_services().store
    failing_store = FailingStore(original_store)
    use_services(store=failing_store)
    yield failing_store
    use_services(store=original_store)


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
    erase_subject(acme, world, erasure_subject)

    repeated = acme.post("/calls", call_request, headers=key)

    assert (repeated.status_code, repeated.json["id"]) == (202, call["id"])
    assert (repeated.json["called_number"], repeated.json["metadata"]) == ("erased", {})
    world.run_jobs(acme)
    assert [operation for operation, _ in real_carrier.operations].count("place_call") == 1


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

    waiting_erasure = erase_subject(acme, world, erasure_subject)
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


def test_an_unreachable_store_delays_the_erasure(
    tenant_with_subject_data: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    failing_store: FailingStore,
    erasure_subject: ErasureSubject,
) -> None:
    failing_store.failure = StorageError("away", permanent=False)
    delayed_erasure = erase_subject(tenant_with_subject_data, world, erasure_subject)
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
    ("module", "step"),
    [
        (subject_audio, "erase_audio"),
        (subject_events, "erase_events"),
        (subject_data, "erase_calls"),
        (stored_responses, "replace_fields"),
        (subject_records, "find_messages"),
    ],
)
def test_the_next_run_finishes_a_killed_erasure(
    tenant_with_subject_data: Tenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
    erasure_subject: ErasureSubject,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    step: str,
) -> None:
    response = tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    request_id = UUID(response.json["id"])
    with monkeypatch.context() as patch:
        patch.setattr(module, step, kill_process)
        with pytest.raises(ProcessKilled):
            erasure.run_erasure(
                tenant_with_subject_data.ref, request_id=request_id, services=app_services()
            )

    erasure.run_erasure(
        tenant_with_subject_data.ref, request_id=request_id, services=app_services()
    )

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
    erasure.run_erasure(acme.ref, request_id=UUID(erasure_request["id"]), services=app_services())
    real_carrier.add_recording("c", erasure_subject.phrase.encode())

    world.run_jobs(acme, include_scheduled=True)

    assert stored_files(acme) == []
    assert real_carrier.fetch_recording("c") is None
    [call] = acme.get("/calls").json
    assert call["recording"]["status"] == "deleted"
