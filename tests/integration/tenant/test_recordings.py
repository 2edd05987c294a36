"""Tests of the job that fetches recordings: storage, retries, crashes and concurrent runs."""

import hashlib
from collections.abc import Callable, Generator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Tenant
from tests.support.recordings import (
    AUDIO,
    FailingStore,
    ProcessKilled,
    checked_out_connections,
    expect_recording,
    get_recording,
    kill_process,
    set_retention_days,
    stored_files,
)
from tests.support.services import app_services
from vca.jobs import queue
from vca.kit import clock
from vca.kit.storage import StorageError
from vca.kit.storage.folder import FolderStore
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import MAX_RECORDING_BYTES
from vca.telephony.types import Recording as Audio
from vca.tenancy.session import tenant_session
from vca.tenant.recordings import carrier_fetch, retention, service


def _make_older(world: Factory, tenant: Tenant, interval: str) -> None:
    world.sql(tenant, f"UPDATE recordings SET created_at = created_at - interval '{interval}'")


def test_a_recording_is_stored_and_deleted_at_the_carrier(
    acme: Tenant, globex: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id = expect_recording(acme)
    assert get_recording(acme, call_id).status == "pending"
    carrier.add_recording(str(call_id), AUDIO, "audio/x-wav; rate=8000")

    assert world.run_jobs(acme) == ["recordings.fetch"]

    recording = get_recording(acme, call_id)
    assert (recording.status, recording.carrier_copy, recording.delete_after) == (
        "stored",
        "deleted",
        None,
    )
    assert (recording.size_bytes, recording.content_type) == (len(AUDIO), "audio/wav")
    assert recording.sha256 == hashlib.sha256(AUDIO).hexdigest()
    month = f"{recording.created_at:%Y/%m}"
    assert recording.storage_key == f"{acme.ref.id.hex}/{month}/{recording.id.hex}.wav"
    assert [file.read_bytes() for file in stored_files(acme)] == [AUDIO]
    assert stored_files(globex) == []
    assert carrier.fetch_recording(str(call_id)) is None


def test_expecting_a_recording_twice_creates_one_row(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id = expect_recording(acme)
    first_id = get_recording(acme, call_id).id

    with tenant_session(acme.ref, database=app_services().database) as session:
        second_id = service.create_pending(
            session,
            call_id=call_id,
            kind="call",
            provider_type="fake",
            provider_call_id="something else",
        )

    assert second_id == first_id
    carrier.add_recording(str(call_id), AUDIO)
    assert world.run_jobs(acme) == ["recordings.fetch"]
    assert get_recording(acme, call_id).provider_call_id == str(call_id)


def test_a_recording_id_that_arrives_later_is_stored_and_fetched(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id = expect_recording(acme)
    world.run_jobs(acme)
    carrier.add_recording(str(call_id), AUDIO, provider_recording_id="RE1")

    expect_recording(acme, call_id=call_id, provider_recording_id="RE1")
    world.run_jobs(acme, include_scheduled=True)

    assert get_recording(acme, call_id).status == "stored"
    assert carrier.fetch_recording(str(call_id), "RE1") is None


def test_a_call_may_have_a_recording_and_a_voicemail(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id = expect_recording(acme, provider_recording_id="RE1")
    expect_recording(acme, call_id=call_id, kind="voicemail", provider_recording_id="RE2")
    carrier.add_recording(str(call_id), b"the call", provider_recording_id="RE1")
    carrier.add_recording(str(call_id), b"the voicemail", provider_recording_id="RE2")

    world.run_jobs(acme)

    path = f"/calls/{call_id}/recording"
    assert acme.get(path).data == b"the call"
    assert acme.get(path, kind="voicemail").data == b"the voicemail"
    with tenant_session(acme.ref, database=app_services().database) as session:
        assert service.statuses_by_call(session, [call_id]) == {call_id: "stored"}


def test_a_recording_that_is_not_ready_is_retried_for_a_day(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id, late_id = expect_recording(acme), expect_recording(acme)
    for _ in range(3):
        assert world.run_jobs(acme, include_scheduled=True)[:2] == ["recordings.fetch"] * 2
    assert get_recording(acme, call_id).status == "pending"
    carrier.add_recording(str(late_id), AUDIO)
    _make_older(world, acme, "25 hours")

    world.run_jobs(acme, include_scheduled=True)

    assert get_recording(acme, late_id).status == "stored"
    assert get_recording(acme, call_id).status == "failed"
    assert world.run_jobs(acme, include_scheduled=True) == []
    with tenant_session(acme.ref, database=app_services().database) as session:
        unknown_id = uuid4()
        assert service.statuses_by_call(session, [call_id, late_id, unknown_id]) == {
            call_id: "failed",
            late_id: "stored",
            unknown_id: "none",
        }


def test_a_permanent_carrier_error_fails_the_recording(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id = expect_recording(acme)
    carrier.fail_next(TelephonyError("no such call", permanent=True, code="404"))

    world.run_jobs(acme)

    assert get_recording(acme, call_id).status == "failed"
    assert world.run_jobs(acme, include_scheduled=True) == []


def test_a_recording_over_the_size_limit_fails_and_leaves_no_file(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id, block = expect_recording(acme), b"x" * (1024 * 1024)

    def fetch_oversized(*_: object) -> Audio:
        return Audio("audio/wav", (block for _ in range(MAX_RECORDING_BYTES // len(block) + 1)))

    monkeypatch.setattr(carrier, "fetch_recording", fetch_oversized)
    world.run_jobs(acme)

    assert get_recording(acme, call_id).status == "failed"
    assert stored_files(acme) == []


def test_the_carrier_copy_remains_while_the_store_is_unavailable(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, failing_store: FailingStore
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)
    failing_store.failure = StorageError("disk full", permanent=False)
    world.run_jobs(acme)
    assert get_recording(acme, call_id).status == "pending"
    assert carrier.fetch_recording(str(call_id)) is not None

    failing_store.failure = None
    world.run_jobs(acme, include_scheduled=True)

    assert get_recording(acme, call_id).status == "stored"
    assert carrier.fetch_recording(str(call_id)) is None


def test_corrupt_stored_audio_is_rejected_and_the_carrier_copy_remains(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, failing_store: FailingStore
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)
    failing_store.corrupt_reads = True

    world.run_jobs(acme)

    assert get_recording(acme, call_id).status == "pending"
    assert carrier.fetch_recording(str(call_id)) is not None
    assert acme.get(f"/calls/{call_id}/recording").json["code"] == "recording-not-ready"


def test_a_failed_deletion_at_the_carrier_is_retried_without_a_new_fetch(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)

    def fail_deletion(*_: object) -> None:
        raise TelephonyError("busy", permanent=False)

    with monkeypatch.context() as patch:
        patch.setattr(carrier, "delete_recording", fail_deletion)
        world.run_jobs(acme)
        world.run_jobs(acme, include_scheduled=True)
    recording = get_recording(acme, call_id)
    assert (recording.status, recording.carrier_copy) == ("stored", "kept")
    fetch_count = [operation for operation, _ in carrier.operations].count("recording")

    world.run_jobs(acme, include_scheduled=True)

    assert get_recording(acme, call_id).carrier_copy == "deleted"
    assert [operation for operation, _ in carrier.operations].count("recording") == fetch_count


def test_no_transaction_is_open_during_requests_to_carrier_or_store(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, failing_store: FailingStore
) -> None:
    open_transactions = []

    class MonitoredCarrier(FakeTelephonyAdapter):
        def _record_operation(self, operation: str, **arguments: Any) -> None:
            open_transactions.append(checked_out_connections())

    monitored_carrier = MonitoredCarrier()
    app_services().carriers.register(monitored_carrier)
    set_retention_days(world, acme, 1)
    call_id = expect_recording(acme)
    monitored_carrier.add_recording(str(call_id), AUDIO)
    world.run_jobs(acme)
    response = acme.get(f"/calls/{call_id}/recording")
    retention.sweep(acme.ref, now=clock.now() + timedelta(days=2), services=app_services())

    assert response.data == AUDIO
    assert open_transactions == [0, 0]
    assert failing_store.open_transactions == [0] * len(failing_store.open_transactions)
    assert len(failing_store.open_transactions) == 4  # put, verify, serve, delete


# --- Crashes and concurrent runs -----------------------------------------------------------------


def _kill_after(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that executes the step and then raises ProcessKilled."""

    def execute_and_kill(*args: Any, **kwargs: Any) -> Any:
        step(*args, **kwargs)
        raise ProcessKilled

    return execute_and_kill


def _fetch_and_kill_midway(*_: object) -> Audio:
    """Return audio that raises ProcessKilled after its first chunk."""

    def yield_one_chunk() -> Generator[bytes, None, None]:
        yield AUDIO[:1000]
        raise ProcessKilled

    return Audio("audio/wav", yield_one_chunk())


@pytest.mark.parametrize(
    "step",
    ["fetch", "half written", "written", "read back", "committed", "deleted at carrier"],
)
def test_after_a_crash_at_any_step_the_next_run_stores_the_recording_once(
    acme: Tenant,
    world: Factory,
    carrier: FakeTelephonyAdapter,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)
    deletions = _record_status_at_deletions(acme, call_id, carrier, monkeypatch)
    patches: dict[str, tuple[object, str, Any]] = {
        "fetch": (carrier, "fetch_recording", kill_process),
        "half written": (carrier, "fetch_recording", _fetch_and_kill_midway),
        "written": (FolderStore, "put", _kill_after(FolderStore.put)),
        "read back": (carrier_fetch, "_commit_audio", kill_process),
        "committed": (carrier_fetch, "_commit_audio", _kill_after(carrier_fetch._commit_audio)),
        "deleted at carrier": (
            carrier,
            "delete_recording",
            _kill_after(carrier.delete_recording),
        ),
    }
    job_arguments = {"tenant_id": acme.id, "recording_id": str(get_recording(acme, call_id).id)}

    with monkeypatch.context() as patch:
        patch.setattr(*patches[step])
        with pytest.raises(ProcessKilled):
            queue.TASKS["recordings.fetch"](services=app_services(), **job_arguments)
    is_stored = get_recording(acme, call_id).status == "stored"
    assert is_stored is (step in ("committed", "deleted at carrier"))
    queue.TASKS["recordings.fetch"](services=app_services(), **job_arguments)

    recording = get_recording(acme, call_id)
    assert (recording.status, recording.carrier_copy) == ("stored", "deleted")
    assert [file.read_bytes() for file in stored_files(acme)] == [AUDIO]
    assert carrier.fetch_recording(str(call_id)) is None
    assert deletions
    assert set(deletions) == {"stored"}


def _record_status_at_deletions(
    tenant: Tenant, call_id: UUID, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Return a list to which each deletion at the carrier adds the status of the row."""
    statuses: list[str] = []
    delete = carrier.delete_recording

    def record_and_delete(*args: Any) -> None:
        statuses.append(get_recording(tenant, call_id).status)
        delete(*args)

    monkeypatch.setattr(carrier, "delete_recording", record_and_delete)
    return statuses


def test_audio_written_before_a_crash_is_stored_without_the_carrier_copy(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO, "audio/mpeg")
    with monkeypatch.context() as patch:
        patch.setattr(carrier_fetch, "_commit_audio", kill_process)
        with pytest.raises(ProcessKilled):
            world.run_jobs(acme)
    carrier.delete_recording(str(call_id))

    job_arguments = {"tenant_id": acme.id, "recording_id": str(get_recording(acme, call_id).id)}
    queue.TASKS["recordings.fetch"](services=app_services(), **job_arguments)

    recording = get_recording(acme, call_id)
    assert (recording.status, recording.content_type) == ("stored", "audio/mpeg")
    assert acme.get(f"/calls/{call_id}/recording").data == AUDIO


def test_concurrent_runs_store_a_recording_once(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    for _ in range(5):
        call_id = expect_recording(acme)
        carrier.add_recording(str(call_id), AUDIO)
        job_arguments = {"tenant_id": acme.id, "recording_id": str(get_recording(acme, call_id).id)}

        run_concurrently(
            [partial(queue.TASKS["recordings.fetch"], services=app_services(), **job_arguments)] * 3
        )
        world.run_jobs(acme, include_scheduled=True)

        recording = get_recording(acme, call_id)
        assert (recording.status, recording.carrier_copy) == ("stored", "deleted")
    assert [file.read_bytes() for file in stored_files(acme)] == [AUDIO] * 5


def test_audio_of_a_tenant_purged_during_the_fetch_is_not_stored(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)
    put = FolderStore.put

    def put_and_purge(*args: Any, **kwargs: Any) -> Any:
        object_info = put(*args, **kwargs)
        world.sql(acme, "DROP TYPE tenant_identity")
        return object_info

    monkeypatch.setattr(FolderStore, "put", put_and_purge)
    with pytest.raises(RuntimeError, match="missing or belongs to another tenant"):
        world.run_jobs(acme)

    assert stored_files(acme) == []
