"""Tests of monthly metering: days of phone numbers, and bytes of stored recordings."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from tests.support import admin_db
from tests.support.factories import Factory, Platform, Tenant
from tests.support.services import app_services
from tests.support.usage import total_quantities, usage_facts
from vca.kit import clock
from vca.registry.usage import periods
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import number_metering
from vca.tenant.recordings import retention, storage_metering
from vca.tenant.recordings.models import Recording

THIS_MONTH = periods.month_of(clock.now())
LAST_MONTH = periods.previous_month(THIS_MONTH)
DAYS_OF_LAST_MONTH = (THIS_MONTH - LAST_MONTH).days
TODAY = clock.now().date()


def _waiting_jobs(tenant: Tenant, task: str) -> list[tuple[str, datetime]]:
    """Return (month, scheduled time) of each waiting job with this name."""
    query = text(
        "SELECT args->>'period', scheduled_at FROM jobs.procrastinate_jobs"
        " WHERE status = 'todo' AND task_name = :task AND args->>'tenant_id' = :id"
    )
    with admin_db.public_session() as session:
        rows = session.execute(query, {"task": task, "id": tenant.id})
        return [(row[0], row[1]) for row in rows]


def _set_created_at(world: Factory, tenant: Tenant, created_at: datetime) -> None:
    world.sql(tenant, f"UPDATE phone_numbers SET created_at = '{created_at.isoformat()}'")


# --- Numbers ---------------------------------------------------------------------------------


def test_one_job_at_the_end_of_the_month_counts_the_days_of_numbers(
    acme: Tenant, globex: Tenant
) -> None:
    acme.number()
    acme.number()

    month_end = periods.month_start(periods.next_month(THIS_MONTH))
    assert _waiting_jobs(acme, "phone_numbers.count") == [
        (periods.format_month(THIS_MONTH), month_end)
    ]
    assert _waiting_jobs(globex, "phone_numbers.count") == []


def test_a_past_month_is_counted_once_and_the_next_is_scheduled(
    acme: Tenant, world: Factory
) -> None:
    number = acme.number()
    _set_created_at(world, acme, periods.month_start(LAST_MONTH) + timedelta(days=2, hours=5))

    for _ in range(2):
        number_metering.record_month(acme.ref, period=LAST_MONTH, services=app_services())

    [fact] = usage_facts(acme)
    assert (fact["kind"], fact["quantity"]) == ("number_days", DAYS_OF_LAST_MONTH - 2)
    assert (str(fact["phone_number_id"]), fact["period"]) == (number["id"], LAST_MONTH)
    assert fact["amount"] == fact["quantity"] * 5_000_000
    assert [month for month, _ in _waiting_jobs(acme, "phone_numbers.count")] == [
        periods.format_month(THIS_MONTH)
    ]


def test_a_deleted_number_is_counted_up_to_the_day_of_its_deletion(
    acme: Tenant, world: Factory
) -> None:
    number = acme.number()
    _set_created_at(world, acme, periods.month_start(THIS_MONTH))

    acme.delete(f"/phone-numbers/{number['id']}")

    assert total_quantities(acme) == {"number_days": TODAY.day}
    number_metering.record_month(acme.ref, period=THIS_MONTH, services=app_services())
    assert total_quantities(acme) == {"number_days": TODAY.day}


@pytest.mark.parametrize("is_counted_first", [True, False])
def test_last_month_is_counted_once_before_or_after_a_number_is_deleted(
    acme: Tenant, world: Factory, is_counted_first: bool
) -> None:
    number = acme.number()
    _set_created_at(world, acme, periods.month_start(LAST_MONTH))
    if is_counted_first:
        number_metering.record_month(acme.ref, period=LAST_MONTH, services=app_services())

    acme.delete(f"/phone-numbers/{number['id']}")
    number_metering.record_month(acme.ref, period=LAST_MONTH, services=app_services())

    assert total_quantities(acme) == {"number_days": DAYS_OF_LAST_MONTH + TODAY.day}


def test_tenants_without_numbers_and_deleted_tenants_have_no_number_days(
    acme: Tenant, globex: Tenant, world: Factory, platform: Platform
) -> None:
    globex.number()
    _set_created_at(world, globex, periods.month_start(LAST_MONTH))
    platform.api.patch(globex.url(), {"status": "deleted"})
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))

    for tenant in (acme, globex):
        number_metering.record_month(tenant.ref, period=LAST_MONTH, services=app_services())

        assert usage_facts(tenant) == []
        assert _waiting_jobs(tenant, "phone_numbers.count") == []


# --- Recordings ------------------------------------------------------------------------------


def _store_recording(tenant: Tenant, size: int, created_at: datetime) -> Recording:
    """Insert the row of a recording that was stored at this time."""
    row = Recording(
        id=uuid4(),
        call_id=uuid4(),
        kind="call",
        status="stored",
        provider_type="fake",
        provider_call_id=uuid4().hex,
        size_bytes=size,
        carrier_copy="deleted",
        delete_after=clock.now(),
        created_at=created_at,
    )
    with tenant_session(tenant.ref, database=app_services().database) as session:
        session.add(row)
    return row


def test_all_stored_audio_of_a_month_is_one_fact(acme: Tenant) -> None:
    _store_recording(acme, 1_000, periods.month_start(LAST_MONTH) - timedelta(days=40))
    _store_recording(acme, 10, periods.month_start(THIS_MONTH) - timedelta(hours=1))
    _store_recording(acme, 7, periods.month_start(THIS_MONTH))  # belongs to the next month

    for _ in range(2):
        storage_metering.record_month(acme.ref, period=LAST_MONTH, services=app_services())

    [fact] = usage_facts(acme)
    assert (fact["kind"], fact["quantity"]) == (
        "recording_byte_days",
        1_000 * DAYS_OF_LAST_MONTH + 10,
    )
    assert [month for month, _ in _waiting_jobs(acme, "recordings.count")] == [
        periods.format_month(THIS_MONTH)
    ]


@pytest.mark.parametrize("is_counted_first", [True, False])
def test_last_month_is_counted_once_before_or_after_audio_is_deleted(
    acme: Tenant, is_counted_first: bool
) -> None:
    _store_recording(acme, 100, periods.month_start(LAST_MONTH))
    if is_counted_first:
        storage_metering.record_month(acme.ref, period=LAST_MONTH, services=app_services())

    retention.sweep(acme.ref, now=clock.now(), services=app_services())
    storage_metering.record_month(acme.ref, period=LAST_MONTH, services=app_services())

    assert total_quantities(acme) == {"recording_byte_days": 100 * (DAYS_OF_LAST_MONTH + TODAY.day)}
    with tenant_session(acme.ref, database=app_services().database) as session:
        assert session.scalars(select(Recording.status)).all() == ["deleted"]


def test_storing_audio_schedules_one_count_of_its_month(acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        for _ in range(2):
            storage_metering.start_metering(session, now=datetime(2026, 12, 31, 23, 59, tzinfo=UTC))

    month_end = datetime(2027, 1, 1, tzinfo=UTC)
    assert _waiting_jobs(acme, "recordings.count") == [("2026-12", month_end)]
