"""Tests of the retention of recordings: one scheduled sweep per tenant deletes expired audio."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from tests.support.recordings import (
    FailingStore,
    ProcessKilled,
    get_recording,
    kill_process,
    set_retention_days,
    store_recording,
    stored_files,
)
from tests.support.services import app_services
from vca.kit import clock
from vca.kit.storage import StorageError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.recordings import retention


def _run_sweep(tenant: Tenant, *, time_from_now: timedelta) -> None:
    retention.sweep(tenant.ref, now=clock.now() + time_from_now, services=app_services())


def test_audio_is_deleted_after_its_retention_and_not_before(
    acme: Tenant, globex: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    set_retention_days(world, acme, 30)
    call_id, other_call_id = (
        store_recording(acme, world, carrier),
        store_recording(globex, world, carrier),
    )

    _run_sweep(acme, time_from_now=timedelta(days=29))
    assert get_recording(acme, call_id).status == "stored"
    _run_sweep(acme, time_from_now=timedelta(days=31))

    recording = get_recording(acme, call_id)
    assert (recording.status, recording.storage_key) == ("deleted", None)
    assert stored_files(acme) == []
    assert get_recording(globex, other_call_id).status == "stored"
    assert len(stored_files(globex)) == 1
    assert acme.get(f"/calls/{call_id}/recording").json["code"] == "recording-deleted"


@pytest.mark.parametrize("days", ["0", "-1", '"30"', "null", "true", "1.5"])
def test_an_invalid_number_of_days_disables_the_deletion_of_audio(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, days: str
) -> None:
    set_retention_days(world, acme, days)

    call_id = store_recording(acme, world, carrier)

    assert get_recording(acme, call_id).delete_after is None
    assert world.run_jobs(acme, include_scheduled=True) == []


def test_one_sweep_is_scheduled_at_the_earliest_expiry_and_schedules_the_next(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    set_retention_days(world, acme, 90)
    late_call_id = store_recording(acme, world, carrier)
    set_retention_days(world, acme, 7)
    early_call_id = store_recording(acme, world, carrier)
    assert _scheduled_sweeps(acme) == [get_recording(acme, early_call_id).delete_after]

    _run_sweep(acme, time_from_now=timedelta(days=8))

    assert get_recording(acme, early_call_id).status == "deleted"
    assert get_recording(acme, late_call_id).status == "stored"
    assert _scheduled_sweeps(acme) == [get_recording(acme, late_call_id).delete_after]


def test_sweeps_delete_expired_recordings_in_batches(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BATCH_SIZE", 2)
    set_retention_days(world, acme, 1)
    for _ in range(5):
        store_recording(acme, world, carrier)
    world.sql(acme, "UPDATE recordings SET delete_after = now() - interval '1 hour'")

    assert world.run_jobs(acme, include_scheduled=True) == ["recordings.sweep"] * 3

    assert stored_files(acme) == []


def test_a_sweep_is_repeated_after_the_store_was_unavailable(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, failing_store: FailingStore
) -> None:
    set_retention_days(world, acme, 1)
    call_id = store_recording(acme, world, carrier)
    world.sql(acme, "UPDATE recordings SET delete_after = now() - interval '1 hour'")
    failing_store.failure = StorageError("away", permanent=False)
    assert world.run_jobs(acme, include_scheduled=True) == ["recordings.sweep"]
    assert get_recording(acme, call_id).status == "stored"

    failing_store.failure = None
    assert world.run_jobs(acme, include_scheduled=True) == ["recordings.sweep"]

    assert get_recording(acme, call_id).status == "deleted"
    assert stored_files(acme) == []


def test_a_sweep_killed_after_deleting_is_completed_by_the_next(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_retention_days(world, acme, 1)
    call_id = store_recording(acme, world, carrier)
    with monkeypatch.context() as patch:
        patch.setattr(retention, "_mark_deleted", kill_process)
        with pytest.raises(ProcessKilled):
            _run_sweep(acme, time_from_now=timedelta(days=2))
    assert acme.get(f"/calls/{call_id}/recording").json["code"] == "recording-missing"

    _run_sweep(acme, time_from_now=timedelta(days=2))

    assert get_recording(acme, call_id).status == "deleted"


def test_a_sweep_never_deletes_audio_of_another_tenant(
    acme: Tenant, globex: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    set_retention_days(world, acme, 1)
    call_id, other_call_id = (
        store_recording(acme, world, carrier),
        store_recording(globex, world, carrier),
    )
    world.sql(
        acme,
        f"UPDATE recordings SET storage_key = '{get_recording(globex, other_call_id).storage_key}'",
    )

    response = acme.get(f"/calls/{call_id}/recording")
    _run_sweep(acme, time_from_now=timedelta(days=2))

    assert (response.status_code, response.json["code"]) == (404, "recording-missing")
    assert len(stored_files(globex)) == 1


def _scheduled_sweeps(tenant: Tenant) -> list[datetime]:
    """Return the times at which sweeps of the tenant are scheduled."""
    with admin_db.public_session() as session:
        rows = session.execute(
            text(
                "SELECT scheduled_at FROM jobs.procrastinate_jobs WHERE status = 'todo'"
                " AND task_name = 'recordings.sweep' AND args->>'tenant_id' = :id"
            ),
            {"id": tenant.id},
        )
        return list(rows.scalars())
