"""Recordings: fetched by a job that may die anywhere, kept once, let go in time."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
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
from vca.jobs import queue
from vca.kit import clock
from vca.kit.storage import StorageError
from vca.kit.storage.folder import FolderStore
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import MAX_RECORDING_BYTES
from vca.telephony.types import Recording as Audio
from vca.tenancy.session import tenant_session
from vca.tenant.recordings import carrier_fetch, retention, service


def _age(world: Factory, tenant: Tenant, by: str) -> None:
    world.sql(tenant, f"UPDATE recordings SET created_at = created_at - interval '{by}'")


def test_a_recording_is_kept_and_its_carrier_forgets_it(
    acme: Tenant, globex: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id = expect_recording(acme)
    assert get_recording(acme, call_id).status == "pending"
    carrier.add_recording(str(call_id), AUDIO, "audio/x-wav; rate=8000")

    assert world.run_jobs(acme) == ["recordings.fetch"]

    found = get_recording(acme, call_id)
    assert (found.status, found.carrier_copy, found.delete_after) == ("stored", "deleted", None)
    assert (found.size_bytes, found.content_type) == (len(AUDIO), "audio/wav")
    assert found.sha256 == hashlib.sha256(AUDIO).hexdigest()
    month = f"{found.created_at:%Y/%m}"
    assert found.storage_key == f"{acme.ref.id.hex}/{month}/{found.id.hex}.wav"
    assert [one.read_bytes() for one in stored_files(acme)] == [AUDIO]
    assert stored_files(globex) == []
    assert carrier.fetch_recording(str(call_id)) is None


def test_expecting_twice_is_the_same_as_once(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id = expect_recording(acme)
    first = get_recording(acme, call_id).id

    with tenant_session(acme.ref) as session:
        again = service.create_pending(
            session,
            call_id=call_id,
            kind="call",
            provider_type="fake",
            provider_call_id="something else",
        )

    assert again == first
    carrier.add_recording(str(call_id), AUDIO)
    assert world.run_jobs(acme) == ["recordings.fetch"]
    assert get_recording(acme, call_id).provider_call_id == str(call_id)


def test_a_carriers_name_of_the_recording_that_comes_later_is_taken_and_asked_for(
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
    with tenant_session(acme.ref) as session:
        assert service.statuses_by_call(session, [call_id]) == {call_id: "stored"}


def test_what_is_not_ready_is_asked_for_again_and_given_up_after_a_day(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id, late = expect_recording(acme), expect_recording(acme)
    for _ in range(3):
        assert world.run_jobs(acme, include_scheduled=True)[:2] == ["recordings.fetch"] * 2
    assert get_recording(acme, call_id).status == "pending"
    carrier.add_recording(str(late), AUDIO)
    _age(world, acme, "25 hours")

    world.run_jobs(acme, include_scheduled=True)

    assert get_recording(acme, late).status == "stored"
    assert get_recording(acme, call_id).status == "failed"
    assert world.run_jobs(acme, include_scheduled=True) == []
    with tenant_session(acme.ref) as session:
        missing = uuid4()
        assert service.statuses_by_call(session, [call_id, late, missing]) == {
            call_id: "failed",
            late: "stored",
            missing: "none",
        }


def test_what_the_carrier_refuses_for_good_has_failed(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    call_id = expect_recording(acme)
    carrier.fail_next(TelephonyError("no such call", permanent=True, code="404"))

    world.run_jobs(acme)

    assert get_recording(acme, call_id).status == "failed"
    assert world.run_jobs(acme, include_scheduled=True) == []


def test_a_recording_that_never_ends_fails_and_nothing_of_it_is_kept(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id, block = expect_recording(acme), b"x" * (1024 * 1024)

    def endless(*_: object) -> Audio:
        return Audio("audio/wav", (block for _ in range(MAX_RECORDING_BYTES // len(block) + 1)))

    monkeypatch.setattr(carrier, "fetch_recording", endless)
    world.run_jobs(acme)

    assert get_recording(acme, call_id).status == "failed"
    assert stored_files(acme) == []


def test_a_store_that_is_away_is_waited_for_and_the_carrier_keeps_its_copy(
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


def test_what_was_not_kept_as_it_came_is_not_stored_and_the_carrier_keeps_its_copy(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, failing_store: FailingStore
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)
    failing_store.corrupt_reads = True

    world.run_jobs(acme)

    assert get_recording(acme, call_id).status == "pending"
    assert carrier.fetch_recording(str(call_id)) is not None
    assert acme.get(f"/calls/{call_id}/recording").json["code"] == "recording-not-ready"


def test_a_carrier_that_does_not_delete_is_asked_again_and_the_recording_is_there_meanwhile(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)

    def refuse(*_: object) -> None:
        raise TelephonyError("busy", permanent=False)

    with monkeypatch.context() as patched:
        patched.setattr(carrier, "delete_recording", refuse)
        world.run_jobs(acme)
        world.run_jobs(acme, include_scheduled=True)
    found = get_recording(acme, call_id)
    assert (found.status, found.carrier_copy) == ("stored", "kept")
    asked = [what for what, _ in carrier.operations].count("recording")

    world.run_jobs(acme, include_scheduled=True)

    assert get_recording(acme, call_id).carrier_copy == "deleted"
    assert [what for what, _ in carrier.operations].count("recording") == asked


def test_no_transaction_is_open_while_carrier_or_store_are_asked(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, failing_store: FailingStore
) -> None:
    open_transactions = []

    class Watching(FakeTelephonyAdapter):
        def _record_operation(self, operation: str, **arguments: Any) -> None:
            open_transactions.append(checked_out_connections())

    watching = Watching()
    providers.current_carriers().register(watching)
    set_retention_days(world, acme, 1)
    call_id = expect_recording(acme)
    watching.add_recording(str(call_id), AUDIO)
    world.run_jobs(acme)
    listened = acme.get(f"/calls/{call_id}/recording")
    retention.sweep(acme.ref, now=clock.now() + timedelta(days=2))

    assert listened.data == AUDIO
    assert open_transactions == [0, 0]
    assert failing_store.open_transactions == [0] * len(failing_store.open_transactions)
    assert len(failing_store.open_transactions) == 4  # put, read back, served, deleted


# --- Killed, and twice at once -------------------------------------------------------------------


def _dies_after(do: Callable[..., Any]) -> Callable[..., Any]:
    def done(*given: Any, **named: Any) -> Any:
        do(*given, **named)
        raise ProcessKilled

    return done


def _dies_midway(carrier: FakeTelephonyAdapter) -> Callable[..., Any]:
    def pieces() -> Iterator[bytes]:
        yield AUDIO[:1000]
        raise ProcessKilled

    return lambda *_: Audio("audio/wav", pieces())  # type: ignore[arg-type] # it only yields


@pytest.mark.parametrize(
    "moment",
    ["asked", "half written", "written", "read back", "committed", "forgotten"],
)
def test_killed_at_any_moment_the_next_run_keeps_it_once_and_loses_nothing(
    acme: Tenant,
    world: Factory,
    carrier: FakeTelephonyAdapter,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)
    deletions = _watch_deletions(acme, call_id, carrier, monkeypatch)
    patches: dict[str, tuple[object, str, Any]] = {
        "asked": (carrier, "fetch_recording", kill_process),
        "half written": (carrier, "fetch_recording", _dies_midway(carrier)),
        "written": (FolderStore, "put", _dies_after(FolderStore.put)),
        "read back": (carrier_fetch, "_commit_audio", kill_process),
        "committed": (carrier_fetch, "_commit_audio", _dies_after(carrier_fetch._commit_audio)),
        "forgotten": (
            carrier,
            "delete_recording",
            _dies_after(carrier.delete_recording),
        ),
    }
    order = {"tenant_id": acme.id, "recording_id": str(get_recording(acme, call_id).id)}

    with monkeypatch.context() as patched:
        patched.setattr(*patches[moment])
        with pytest.raises(ProcessKilled):
            queue.TASKS["recordings.fetch"](**order)
    stored = get_recording(acme, call_id).status == "stored"
    assert stored is (moment in ("committed", "forgotten"))
    queue.TASKS["recordings.fetch"](**order)

    found = get_recording(acme, call_id)
    assert (found.status, found.carrier_copy) == ("stored", "deleted")
    assert [one.read_bytes() for one in stored_files(acme)] == [AUDIO]
    assert carrier.fetch_recording(str(call_id)) is None
    assert deletions
    assert set(deletions) == {"stored"}


def _watch_deletions(
    tenant: Tenant, call_id: UUID, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """What the row says at each moment at which the carrier is told to forget."""
    said: list[str] = []
    delete = carrier.delete_recording

    def watched(*given: Any) -> None:
        said.append(get_recording(tenant, call_id).status)
        delete(*given)

    monkeypatch.setattr(carrier, "delete_recording", watched)
    return said


def test_what_was_written_before_a_kill_is_kept_though_the_carrier_lost_it_since(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO, "audio/mpeg")
    with monkeypatch.context() as patched:
        patched.setattr(carrier_fetch, "_commit_audio", kill_process)
        with pytest.raises(ProcessKilled):
            world.run_jobs(acme)
    carrier.delete_recording(str(call_id))

    order = {"tenant_id": acme.id, "recording_id": str(get_recording(acme, call_id).id)}
    queue.TASKS["recordings.fetch"](**order)

    found = get_recording(acme, call_id)
    assert (found.status, found.content_type) == ("stored", "audio/mpeg")
    assert acme.get(f"/calls/{call_id}/recording").data == AUDIO


def test_two_runs_at_once_keep_it_once(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    for _ in range(5):
        call_id = expect_recording(acme)
        carrier.add_recording(str(call_id), AUDIO)
        order = {"tenant_id": acme.id, "recording_id": str(get_recording(acme, call_id).id)}

        run_concurrently([lambda order=order: queue.TASKS["recordings.fetch"](**order)] * 3)
        world.run_jobs(acme, include_scheduled=True)

        found = get_recording(acme, call_id)
        assert (found.status, found.carrier_copy) == ("stored", "deleted")
    assert [one.read_bytes() for one in stored_files(acme)] == [AUDIO] * 5


def test_audio_that_comes_for_a_tenant_that_was_purged_meanwhile_is_not_kept(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = expect_recording(acme)
    carrier.add_recording(str(call_id), AUDIO)
    put = FolderStore.put

    def put_and_purged(*given: Any, **named: Any) -> Any:
        stored = put(*given, **named)
        world.sql(acme, "DROP TYPE tenant_identity")
        return stored

    monkeypatch.setattr(FolderStore, "put", put_and_purged)
    with pytest.raises(RuntimeError, match="missing or belongs to another tenant"):
        world.run_jobs(acme)

    assert stored_files(acme) == []
