"""What is counted by the day: numbers that are held, audio that is kept."""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from tests.support import admin_db
from tests.support.factories import Factory, Platform, Tenant
from tests.support.usage import total_quantities, usage_facts
from vca.kit import clock
from vca.registry.usage import periods
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import number_metering
from vca.tenant.recordings import retention, storage_metering
from vca.tenant.recordings.models import Recording

THIS = periods.month_of(clock.now())
LAST = periods.previous_month(THIS)
DAYS_OF_LAST = (THIS - LAST).days
TODAY = clock.now().date()


def _waiting(tenant: Tenant, task: str) -> list[tuple[str, datetime]]:
    """(month, when) of the tenant's waiting jobs of that name."""
    waiting = text(
        "SELECT args->>'period', scheduled_at FROM jobs.procrastinate_jobs"
        " WHERE status = 'todo' AND task_name = :task AND args->>'tenant_id' = :id"
    )
    with admin_db.public_session() as session:
        return [(row[0], row[1]) for row in session.execute(waiting, _named(tenant, task))]


def _named(tenant: Tenant, task: str) -> dict[str, str]:
    return {"task": task, "id": tenant.id}


def _held_since(world: Factory, tenant: Tenant, since: datetime) -> None:
    world.sql(tenant, f"UPDATE phone_numbers SET created_at = '{since.isoformat()}'")


def _begins(period: date) -> datetime:
    return periods.month_start(period)


# --- Numbers ---------------------------------------------------------------------------------


def test_numbers_have_their_month_counted_when_it_is_over_by_one_job(
    acme: Tenant, globex: Tenant
) -> None:
    acme.number()
    acme.number()

    over = _begins(periods.next_month(THIS))
    assert _waiting(acme, "phone_numbers.count") == [(periods.format_month(THIS), over)]
    assert _waiting(globex, "phone_numbers.count") == []


def test_a_month_that_is_over_is_counted_once_and_the_next_is_ordered(
    acme: Tenant, world: Factory
) -> None:
    number = acme.number()
    _held_since(world, acme, _begins(LAST) + timedelta(days=2, hours=5))

    for _ in range(2):
        number_metering.record_month(acme.ref, period=LAST)

    [fact] = usage_facts(acme)
    assert (fact["kind"], fact["quantity"]) == ("number_days", DAYS_OF_LAST - 2)
    assert (str(fact["phone_number_id"]), fact["period"]) == (number["id"], LAST)
    assert fact["amount"] == fact["quantity"] * 5_000_000
    assert [month for month, _ in _waiting(acme, "phone_numbers.count")] == [
        periods.format_month(THIS)
    ]


def test_a_number_that_is_given_back_is_counted_up_to_that_day(
    acme: Tenant, world: Factory
) -> None:
    number = acme.number()
    _held_since(world, acme, _begins(THIS))

    acme.delete(f"/phone-numbers/{number['id']}")

    assert total_quantities(acme) == {"number_days": TODAY.day}
    number_metering.record_month(acme.ref, period=THIS)
    assert total_quantities(acme) == {"number_days": TODAY.day}


@pytest.mark.parametrize("counted", [True, False])
def test_last_month_is_counted_once_whether_a_number_goes_before_or_after(
    acme: Tenant, world: Factory, counted: bool
) -> None:
    number = acme.number()
    _held_since(world, acme, _begins(LAST))
    if counted:
        number_metering.record_month(acme.ref, period=LAST)

    acme.delete(f"/phone-numbers/{number['id']}")
    number_metering.record_month(acme.ref, period=LAST)

    assert total_quantities(acme) == {"number_days": DAYS_OF_LAST + TODAY.day}


def test_without_numbers_and_for_a_deleted_tenant_nothing_is_counted_or_ordered(
    acme: Tenant, globex: Tenant, world: Factory, platform: Platform
) -> None:
    globex.number()
    _held_since(world, globex, _begins(LAST))
    platform.api.patch(globex.url(), {"status": "deleted"})
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))

    for tenant in (acme, globex):
        number_metering.record_month(tenant.ref, period=LAST)

        assert usage_facts(tenant) == []
        assert _waiting(tenant, "phone_numbers.count") == []


# --- Recordings ------------------------------------------------------------------------------


def _stored(tenant: Tenant, size: int, since: datetime) -> Recording:
    """Audio that is kept since then."""
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
        created_at=since,
    )
    with tenant_session(tenant.ref) as session:
        session.add(row)
    return row


def test_audio_that_is_there_when_a_month_is_over_is_one_fact(acme: Tenant) -> None:
    _stored(acme, 1_000, _begins(LAST) - timedelta(days=40))
    _stored(acme, 10, _begins(THIS) - timedelta(hours=1))
    _stored(acme, 7, _begins(THIS))  # of the month after

    for _ in range(2):
        storage_metering.record_month(acme.ref, period=LAST)

    [fact] = usage_facts(acme)
    assert (fact["kind"], fact["quantity"]) == ("recording_byte_days", 1_000 * DAYS_OF_LAST + 10)
    assert [month for month, _ in _waiting(acme, "recordings.count")] == [
        periods.format_month(THIS)
    ]


@pytest.mark.parametrize("counted", [True, False])
def test_last_month_is_counted_once_whether_audio_goes_before_or_after(
    acme: Tenant, counted: bool
) -> None:
    _stored(acme, 100, _begins(LAST))
    if counted:
        storage_metering.record_month(acme.ref, period=LAST)

    retention.sweep(acme.ref, now=clock.now())
    storage_metering.record_month(acme.ref, period=LAST)

    assert total_quantities(acme) == {"recording_byte_days": 100 * (DAYS_OF_LAST + TODAY.day)}
    with tenant_session(acme.ref) as session:
        assert session.scalars(select(Recording.status)).all() == ["deleted"]


def test_audio_that_is_stored_has_its_month_counted(acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        for _ in range(2):
            storage_metering.start_metering(session, now=datetime(2026, 12, 31, 23, 59, tzinfo=UTC))

    over = datetime(2027, 1, 1, tzinfo=UTC)
    assert _waiting(acme, "recordings.count") == [("2026-12", over)]
