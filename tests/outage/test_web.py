"""A database that is down, dies, freezes or is full: answers in time, and back by itself."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg2
import pytest

from tests.support.processes import Answer, Web, serving, until
from tests.support.relay import Relay
from tests.support.threads import at_once
from tests.support.world import Platform, Tenant, World, fresh_number
from vca.kit.db import Database

BOUND_S = 5.0


@pytest.fixture
def platform(world: World) -> Platform:
    return world.platform()


def _lists(web: Web, tenant: Tenant, times: int) -> list[Callable[[], Answer]]:
    asking = web.as_key(tenant.key)
    return [partial(asking.get, tenant.url("/phone-numbers"))] * times


@contextmanager
def _watching(web: Web) -> Iterator[list[Answer]]:
    """Ask whether the process is alive, all the time."""
    answers: list[Answer] = []
    ended = Event()

    def watch() -> None:
        while not ended.wait(0.05):
            answers.append(web.get("/livez"))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join(timeout=20)


@contextmanager
def _held(database: Database, statement: str) -> Iterator[Any]:
    """A transaction of somebody else's that has done `statement` and does not end."""
    connection = psycopg2.connect(database.dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield connection
    finally:
        with suppress(psycopg2.Error):
            connection.rollback()
        connection.close()


def _blocked(connection: Any) -> list[int]:
    """The server processes that wait for this connection's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        return [row[0] for row in cursor.fetchall()]


def _jobs(database: Database, tenant: Tenant) -> int:
    """How many jobs of a tenant are in the queue."""
    with psycopg2.connect(database.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = %s",
            [tenant.id],
        )
        (count,) = cursor.fetchone()
    connection.close()
    return int(count)


# --- Away ------------------------------------------------------------------------------------


def test_a_server_starts_while_its_database_is_down_and_serves_when_it_is_there(
    relay: Relay, environment: dict[str, str], acme: Tenant, tmp_path: Path
) -> None:
    relay.cut()
    with serving(environment, tmp_path / "log") as web:
        before = web.workers()
        tenant = web.as_key(acme.key)
        health = web.get("/healthz")
        listed = tenant.get(acme.url("/calls"))
        carrier = web.ask("POST", "/telephony/fake/voice", {"call_id": "a"})

        assert web.get("/livez").status == 200
        assert web.get("/").status == 200
        assert health.unavailable
        assert health.json["database"] == "unavailable"
        assert listed.unavailable
        assert carrier.status in (403, 503)
        assert max(health.took_s, listed.took_s) < BOUND_S

        relay.restore()
        until(lambda: tenant.get(acme.url("/calls")).status == 200, within_s=BOUND_S)
        until(lambda: web.get("/healthz").status == 200, within_s=BOUND_S)
        assert web.workers() == before
        assert web.program.lines()


@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_a_database_that_is_away_is_answered_for_in_time_and_is_noticed_when_it_is_back(
    web: Web, relay: Relay, acme: Tenant, globex: Tenant, how: str
) -> None:
    for tenant in (acme, globex):
        tenant.number(label=tenant.id)
    asking = web.as_key(acme.key)
    simulate = partial(
        asking.ask, "POST", acme.url("/simulations"), {"to": fresh_number(), "from": None}
    )
    at_once([*_lists(web, acme, 8), *_lists(web, globex, 8)])
    assert simulate().status == 404

    getattr(relay, how)()
    with _watching(web) as alive:
        answers = at_once([*_lists(web, acme, 15), *_lists(web, globex, 15), simulate, simulate])
        answers += [asking.get(acme.url("/calls")), web.get("/healthz"), simulate()]

    assert [answer for answer in answers if not answer.unavailable] == []
    assert max(answer.took_s for answer in answers) < BOUND_S
    assert {answer.status for answer in alive} == {200}
    assert max(answer.took_s for answer in alive) < BOUND_S

    relay.restore()
    until(lambda: all(one().status == 200 for one in _lists(web, acme, 6)), within_s=BOUND_S)
    for _ in range(4):
        _no_connection_is_poisoned(web, acme, globex)


def _no_connection_is_poisoned(web: Web, acme: Tenant, globex: Tenant) -> None:
    answers = at_once([*_lists(web, acme, 8), *_lists(web, globex, 8)])

    assert [answer.status for answer in answers] == [200] * 16
    labels = [answer.json[0]["label"] for answer in answers]
    assert labels == [acme.id] * 8 + [globex.id] * 8


# --- Dies in the middle ----------------------------------------------------------------------


def test_a_connection_that_dies_in_a_request_leaves_nothing_half_written(
    web: Web, direct: Database, platform: Platform, acme: Tenant
) -> None:
    asking, number = web.as_key(acme.key), fresh_number()
    post = partial(asking.ask, "POST", acme.url("/phone-numbers"), {"did_number": number})
    lock = f'LOCK TABLE "{acme.ref.schema}".phone_numbers IN ACCESS EXCLUSIVE MODE'

    with ThreadPoolExecutor(1) as thread, _held(direct, lock) as other:
        answering = thread.submit(post)
        [pid] = until(lambda: _blocked(other))
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        answer = answering.result(timeout=15)

    assert answer.unavailable
    assert platform.api.get("/api/dids", did_number=number).json == []
    assert acme.get("/phone-numbers").json == []
    assert _jobs(direct, acme) == 0

    again = until(lambda: not (it := post()).unavailable and it, within_s=BOUND_S)
    assert again.status == 201


# --- Full ------------------------------------------------------------------------------------


def test_a_pool_without_a_connection_to_spare_is_answered_for_in_time(
    relay: Relay,
    environment: dict[str, str],
    direct: Database,
    acme: Tenant,
    globex: Tenant,
    tmp_path: Path,
) -> None:
    settings = {**environment, "DATABASE_POOL_SIZE": "1", "WEB_THREADS": "8"}
    row = f'SELECT * FROM "{acme.ref.schema}".settings FOR UPDATE'
    change = {"time_zone": "Europe/Berlin"}
    with serving(settings, tmp_path / "log") as web:
        asking, other = web.as_key(acme.key), web.as_key(globex.key)
        patch = partial(asking.ask, "PATCH", acme.url("/settings"), change)
        with _held(direct, row), _watching(web) as alive:
            answers = at_once([*[patch] * 6, *_lists(web, globex, 6)])

        assert {answer.status for answer in answers} <= {200, 503}
        assert all(answer.unavailable for answer in answers[:6])
        assert max(answer.took_s for answer in answers) < BOUND_S
        assert {answer.status for answer in alive} == {200}
        assert patch().status == 200
        assert other.get(globex.url("/phone-numbers")).status == 200


def test_what_was_logged_meanwhile_is_json_and_tells_no_key(web: Web, acme: Tenant) -> None:
    web.as_key(acme.key).get(acme.url("/calls"))

    lines = web.program.lines()

    assert "request" in {line["event"] for line in lines}
    assert acme.key not in web.program.output.read_text()
