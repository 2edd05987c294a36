"""Retention: audio goes when its days are over, by one waiting sweep for each tenant."""

from datetime import timedelta
from typing import Any

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
from vca.kit import clock
from vca.kit.storage import StorageError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.recordings import retention


def _sweep(tenant: Tenant, *, ahead: timedelta) -> None:
    retention.sweep(tenant.ref, now=clock.now() + ahead)


def test_audio_is_deleted_when_its_days_are_over_and_not_before(
    acme: Tenant, globex: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    set_retention_days(world, acme, 30)
    call_id, other = store_recording(acme, world, carrier), store_recording(globex, world, carrier)

    _sweep(acme, ahead=timedelta(days=29))
    assert get_recording(acme, call_id).status == "stored"
    _sweep(acme, ahead=timedelta(days=31))

    found = get_recording(acme, call_id)
    assert (found.status, found.storage_key) == ("deleted", None)
    assert stored_files(acme) == []
    assert get_recording(globex, other).status == "stored"
    assert len(stored_files(globex)) == 1
    assert acme.get(f"/calls/{call_id}/recording").json["code"] == "recording-deleted"


@pytest.mark.parametrize("days", ["0", "-1", '"30"', "null", "true", "1.5"])
def test_what_is_no_number_of_days_keeps_audio_for_ever(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, days: str
) -> None:
    set_retention_days(world, acme, days)

    call_id = store_recording(acme, world, carrier)

    assert get_recording(acme, call_id).delete_after is None
    assert world.run_jobs(acme, include_scheduled=True) == []


def test_one_sweep_waits_at_the_earliest_time_and_orders_the_next(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    set_retention_days(world, acme, 90)
    late = store_recording(acme, world, carrier)
    set_retention_days(world, acme, 7)
    early = store_recording(acme, world, carrier)
    assert _waiting(world, acme) == [get_recording(acme, early).delete_after]

    _sweep(acme, ahead=timedelta(days=8))

    assert get_recording(acme, early).status == "deleted"
    assert get_recording(acme, late).status == "stored"
    assert _waiting(world, acme) == [get_recording(acme, late).delete_after]


def test_more_than_one_round_of_due_recordings_is_swept_round_by_round(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BATCH_SIZE", 2)
    set_retention_days(world, acme, 1)
    for _ in range(5):
        store_recording(acme, world, carrier)
    world.sql(acme, "UPDATE recordings SET delete_after = now() - interval '1 hour'")

    assert world.run_jobs(acme, include_scheduled=True) == ["recordings.sweep"] * 3

    assert stored_files(acme) == []


def test_a_store_that_is_away_when_it_is_time_is_asked_again(
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


def test_a_sweep_killed_after_deleting_is_finished_by_the_next(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_retention_days(world, acme, 1)
    call_id = store_recording(acme, world, carrier)
    with monkeypatch.context() as patched:
        patched.setattr(retention, "_mark_deleted", kill_process)
        with pytest.raises(ProcessKilled):
            _sweep(acme, ahead=timedelta(days=2))
    assert acme.get(f"/calls/{call_id}/recording").json["code"] == "recording-missing"

    _sweep(acme, ahead=timedelta(days=2))

    assert get_recording(acme, call_id).status == "deleted"


def test_a_sweep_deletes_no_other_tenants_audio_whatever_a_row_says(
    acme: Tenant, globex: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    set_retention_days(world, acme, 1)
    call_id, other = store_recording(acme, world, carrier), store_recording(globex, world, carrier)
    world.sql(
        acme, f"UPDATE recordings SET storage_key = '{get_recording(globex, other).storage_key}'"
    )

    listened = acme.get(f"/calls/{call_id}/recording")
    _sweep(acme, ahead=timedelta(days=2))

    assert (listened.status_code, listened.json["code"]) == (404, "recording-missing")
    assert len(stored_files(globex)) == 1


def _waiting(world: Factory, tenant: Tenant) -> list[Any]:
    with admin_db.public_session() as session:
        found = session.execute(
            text(
                "SELECT scheduled_at FROM jobs.procrastinate_jobs WHERE status = 'todo'"
                " AND task_name = 'recordings.sweep' AND args->>'tenant_id' = :id"
            ),
            {"id": tenant.id},
        )
        return list(found.scalars())
