"""Slots: never more than there are, free with their socket, their time or their process."""

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
from vca.kit import db
from vca.registry.relay_slots import service as slots
from vca.tenancy.session import public_connection, public_session, tenant_session

MOST = 3


@pytest.fixture(autouse=True)
def none_taken(app: Flask) -> Iterator[None]:
    yield
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


def _take() -> UUID | None:
    with public_connection() as connection:
        return slots.acquire_slot(connection, max_slots=MOST)


def _taken() -> UUID:
    slot = _take()
    assert slot is not None
    return slot


def _open(slot: UUID) -> bool:
    with public_connection() as connection:
        return slots.open_once(connection, slot)


def _renew(slot: UUID) -> bool:
    with public_connection() as connection:
        return slots.renew(connection, slot)


def _free(slot: UUID) -> bool:
    with public_connection() as connection:
        return slots.release_slot(connection, slot)


def _pass(seconds: int) -> None:
    """Let so much time go by for every slot."""
    with admin_db.public_session() as session:
        earlier = "UPDATE public.relay_slots SET ends_at = ends_at - make_interval(secs => :s)"
        session.execute(text(earlier), {"s": seconds})


def test_there_are_never_more_slots_than_there_may_be() -> None:
    assert [_take() is not None for _ in range(MOST + 2)] == [True] * MOST + [False] * 2


def test_of_many_at_the_last_slot_one_gets_it() -> None:
    for _ in range(MOST - 1):
        _taken()

    got = run_concurrently([_take] * 12)

    assert Counter(slot is not None for slot in got) == {True: 1, False: 11}


def test_who_takes_a_slot_waits_for_whoever_is_taking_the_last_one() -> None:
    for _ in range(MOST - 1):
        _taken()
    taking = f"SELECT public.take_relay_slot('{UUID(int=7)}', {MOST}, '10 s')"

    with (
        locks.open_transaction(admin_db.database_url(), taking) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        late = thread.submit(_take)
        wait_until(lambda: late.done() or locks.waiting_pids(other))
        other.commit()
        assert late.result(timeout=10) is None


def test_a_slot_that_is_given_back_is_anothers() -> None:
    held = [_taken() for _ in range(MOST)]

    assert _free(held[0])

    assert _take() is not None
    assert _take() is None
    assert not _free(held[0])


def test_a_slot_whose_socket_never_came_is_free_after_ten_seconds() -> None:
    held = [_taken() for _ in range(MOST)]
    _pass(9)
    assert _take() is None

    _pass(1)

    assert _take() is not None
    assert not _open(held[0])


def test_a_slot_is_opened_once_whoever_tries_at_once() -> None:
    slot = _taken()

    opened = run_concurrently([lambda: _open(slot)] * 8)

    assert Counter(opened) == {True: 1, False: 7}
    assert not _open(slot)
    assert not _open(uuid4())


def test_an_open_slot_lasts_as_long_as_it_is_renewed_and_no_longer() -> None:
    slot = _taken()
    assert not _renew(slot)  # nobody has opened it
    _open(slot)
    for _ in range(3):
        _pass(50)
        assert _renew(slot)

    _pass(60)

    assert not _renew(slot)
    assert all(_take() for _ in range(MOST))


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
def test_a_tenants_transaction_can_neither_see_slots_nor_take_one(
    acme: Tenant, statement: str
) -> None:
    with pytest.raises(DBAPIError) as refused, tenant_session(acme.ref) as session:
        session.execute(text(statement))

    assert db.sqlstate(refused.value) == "42501"


def test_the_logins_reach_the_table_through_its_functions_alone() -> None:
    with pytest.raises(DBAPIError) as refused, public_session() as session:
        session.execute(text("SELECT * FROM public.relay_slots"))

    assert db.sqlstate(refused.value) == "42501"
