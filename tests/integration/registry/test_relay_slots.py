"""Tests of voice WebSocket slots: their limit, their lease and their release."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support import admin_db, locks
from tests.support.concurrency import run_concurrently
from tests.support.factories import Tenant
from tests.support.processes import wait_until
from tests.support.services import app_services
from vca.kit import db
from vca.registry.relay_slots import service as slots
from vca.tenancy.session import public_connection, public_session, tenant_session

MAX_SLOTS = 3


@pytest.fixture(autouse=True)
def delete_slots(app: Flask) -> Iterator[None]:
    """Delete all slots after the test."""
    yield
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


def _try_acquire() -> UUID | None:
    with public_connection(database=app_services().database) as connection:
        return slots.acquire_slot(connection, max_slots=MAX_SLOTS)


def _acquire() -> UUID:
    slot = _try_acquire()
    assert slot is not None
    return slot


def _open(slot: UUID) -> bool:
    with public_connection(database=app_services().database) as connection:
        return slots.open_once(connection, slot)


def _renew(slot: UUID) -> bool:
    with public_connection(database=app_services().database) as connection:
        return slots.renew(connection, slot)


def _release(slot: UUID) -> bool:
    with public_connection(database=app_services().database) as connection:
        return slots.release_slot(connection, slot)


def _advance_time(seconds: int) -> None:
    """Change every slot as if this time had passed."""
    with admin_db.public_session() as session:
        statement = "UPDATE public.relay_slots SET ends_at = ends_at - make_interval(secs => :s)"
        session.execute(text(statement), {"s": seconds})


def test_no_more_slots_than_the_limit_are_acquired() -> None:
    assert [_try_acquire() is not None for _ in range(MAX_SLOTS + 2)] == [True] * MAX_SLOTS + [
        False
    ] * 2


def test_only_one_of_many_concurrent_requests_acquires_the_last_slot() -> None:
    for _ in range(MAX_SLOTS - 1):
        _acquire()

    slot_ids = run_concurrently([_try_acquire] * 12)

    assert Counter(slot is not None for slot in slot_ids) == {True: 1, False: 11}


def test_an_acquisition_waits_for_an_uncommitted_one_of_the_last_slot() -> None:
    for _ in range(MAX_SLOTS - 1):
        _acquire()
    acquire_sql = f"SELECT public.take_relay_slot('{UUID(int=7)}', {MAX_SLOTS}, '10 s')"

    with (
        locks.open_transaction(admin_db.database_url(), acquire_sql) as first_transaction,
        ThreadPoolExecutor(1) as thread,
    ):
        second_slot = thread.submit(_try_acquire)
        wait_until(lambda: second_slot.done() or locks.waiting_pids(first_transaction))
        first_transaction.commit()
        assert second_slot.result(timeout=10) is None


def test_a_released_slot_can_be_acquired_once() -> None:
    slot_ids = [_acquire() for _ in range(MAX_SLOTS)]

    assert _release(slot_ids[0])

    assert _try_acquire() is not None
    assert _try_acquire() is None
    assert not _release(slot_ids[0])


def test_a_slot_that_is_not_opened_is_free_after_ten_seconds() -> None:
    slot_ids = [_acquire() for _ in range(MAX_SLOTS)]
    _advance_time(9)
    assert _try_acquire() is None

    _advance_time(1)

    assert _try_acquire() is not None
    assert not _open(slot_ids[0])


def test_only_one_of_many_concurrent_attempts_opens_a_slot() -> None:
    slot = _acquire()

    results = run_concurrently([lambda: _open(slot)] * 8)

    assert Counter(results) == {True: 1, False: 7}
    assert not _open(slot)
    assert not _open(uuid4())


def test_an_open_slot_expires_unless_it_is_renewed() -> None:
    slot = _acquire()
    assert not _renew(slot)  # it is not open yet
    _open(slot)
    for _ in range(3):
        _advance_time(50)
        assert _renew(slot)

    _advance_time(60)

    assert not _renew(slot)
    assert all(_try_acquire() for _ in range(MAX_SLOTS))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.relay_slots",
        "DELETE FROM public.relay_slots",
        f"SELECT public.take_relay_slot('{UUID(int=7)}', 3, '1 s')",
        f"SELECT public.hold_relay_slot('{UUID(int=7)}', true, '1 s')",
        f"SELECT public.free_relay_slot('{UUID(int=7)}')",
    ],
)
def test_a_tenant_transaction_cannot_access_slots(acme: Tenant, statement: str) -> None:
    with (
        pytest.raises(DBAPIError) as error,
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        session.execute(text(statement))

    assert db.sqlstate(error.value) == "42501"


def test_the_web_login_cannot_read_the_slots_table() -> None:
    with (
        pytest.raises(DBAPIError) as error,
        public_session(database=app_services().database) as session,
    ):
        session.execute(text("SELECT * FROM public.relay_slots"))

    assert db.sqlstate(error.value) == "42501"
