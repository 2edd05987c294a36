"""A database that is down, dies, freezes or is full: answers in time, and back by itself."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.locks import open_transaction, terminate_backend, waiting_pids
from tests.support.processes import HttpResponse, WebServer, run_gunicorn, wait_until
from tests.support.tcp_proxy import TcpProxy
from vca.kit.db import Database
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

BOUND_S = 5.0
# What else may delay an answer on a busy machine.
SLACK_S = 2.0


@pytest.fixture
def platform(world: Factory) -> Platform:
    return world.platform()


def _lists(web: WebServer, tenant: Tenant, times: int) -> list[Callable[[], HttpResponse]]:
    asking = web.with_key(tenant.key)
    return [partial(asking.get, tenant.url("/phone-numbers"))] * times


@contextmanager
def _watching(web: WebServer) -> Iterator[list[HttpResponse]]:
    """Ask whether the process is alive, all the time."""
    answers: list[HttpResponse] = []
    ended = Event()

    def watch() -> None:
        while True:
            answers.append(web.get("/livez"))
            if ended.wait(0.05):
                return

    thread = Thread(target=watch)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join(timeout=20)


def _jobs(tenant: Tenant) -> int:
    """How many jobs of a tenant are in the queue."""
    query = text("SELECT count(*) FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id")
    with admin_db.public_session() as session:
        return session.scalar(query, {"id": tenant.id}) or 0


# --- Away ------------------------------------------------------------------------------------


def test_a_server_starts_while_its_database_is_down_and_serves_when_it_is_there(
    db_proxy: TcpProxy, environment: dict[str, str], acme: Tenant, tmp_path: Path
) -> None:
    db_proxy.cut()
    with run_gunicorn(environment, tmp_path / "log") as web:
        before = web.worker_pids()
        tenant = web.with_key(acme.key)
        health = web.get("/healthz")
        listed = tenant.get(acme.url("/calls"))
        carrier = web.request("POST", "/telephony/fake/voice", {"call_id": "a"})

        assert web.get("/livez").status == 200
        assert web.get("/").status == 200
        assert health.is_unavailable
        assert health.json["database"] == "unavailable"
        assert listed.is_unavailable
        assert carrier.status in (403, 503)
        assert max(health.duration_s, listed.duration_s) < BOUND_S + SLACK_S

        db_proxy.restore()
        wait_until(lambda: tenant.get(acme.url("/calls")).status == 200, within_s=BOUND_S + SLACK_S)
        wait_until(lambda: web.get("/healthz").status == 200, within_s=BOUND_S + SLACK_S)
        assert web.worker_pids() == before
        assert web.program.lines()


def _send(web: WebServer, carrier: FakeTelephonyAdapter, action: str, **said: Any) -> HttpResponse:
    """What the carrier sends, signed."""
    request = carrier.signed_request(action, "/telephony/fake/", **said)
    return web.request("POST", request.url, said, extra_headers=request.headers)


@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_a_database_that_is_away_is_answered_for_in_time_and_is_noticed_when_it_is_back(
    web: WebServer, db_proxy: TcpProxy, acme: Tenant, globex: Tenant, how: str
) -> None:
    for tenant in (acme, globex):
        tenant.number(label=tenant.id)
    body = {"to": fresh_number()}
    simulate = partial(web.with_key(acme.key).request, "POST", acme.url("/simulations"), body)
    burst = [*_lists(web, acme, 15), *_lists(web, globex, 15), simulate, simulate]
    usual = run_concurrently(burst)
    assert {answer.status for answer in usual} == {200, 404}
    # What so many requests take on this machine, busy as it is, when nothing is wrong.
    bound_s = BOUND_S + max(answer.duration_s for answer in usual)

    getattr(db_proxy, how)()
    with _watching(web) as alive:
        answers = run_concurrently(burst)
        answers += [burst[0](), web.get("/healthz"), simulate()]

    assert [answer for answer in answers if not answer.is_unavailable] == []
    assert max(answer.duration_s for answer in answers) < bound_s
    assert {answer.status for answer in alive} == {200}
    assert max(answer.duration_s for answer in alive) < bound_s

    db_proxy.restore()
    for _ in range(4):
        wait_until(lambda: _all_are_served_their_own(web, acme, globex), within_s=bound_s)


@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_a_caller_hears_a_sentence_and_a_status_is_sent_again(
    web: WebServer, db_proxy: TcpProxy, settings: Settings, acme: Tenant, how: str
) -> None:
    carrier = FakeTelephonyAdapter.from_settings(settings)
    assert carrier is not None
    acme.profile(greeting="Acme here.")
    number = acme.number()["did_number"]
    call_id = f"outage-{how}"
    first = _send(web, carrier, "voice", call_id=call_id, to=number)
    state = first.json["state"]
    assert first.json["actions"][0]["text"] == "Acme here."
    getattr(db_proxy, how)()

    speech, ring, status = run_concurrently(
        [
            partial(_send, web, carrier, "speech", call_id=call_id, state=state, text="Hello?"),
            partial(_send, web, carrier, "voice", call_id=f"{call_id}-2", to=number),
            partial(
                _send, web, carrier, "status", call_id=call_id, state=state, status="completed"
            ),
        ]
    )

    for answer in (speech, ring):
        assert answer.status == 200
        assert [action["type"] for action in answer.json["actions"]] == ["say", "hang_up"]
    assert status.is_unavailable

    db_proxy.restore()
    again = partial(_send, web, carrier, "status", call_id=call_id, state=state, status="completed")
    wait_until(lambda: again().status == 200)
    [call] = acme.get("/calls").json
    assert (call["provider_call_id"], call["status"]) == (call_id, "completed")


def _all_are_served_their_own(web: WebServer, *tenants: Tenant) -> bool:
    """Whether no process still takes the database for away; what is answered must be right."""
    asked = [(tenant, ask) for tenant in tenants for ask in _lists(web, tenant, 8)]
    answers = run_concurrently([ask for _, ask in asked])

    for (tenant, _), answer in zip(asked, answers, strict=True):
        assert answer.is_unavailable or answer.json[0]["label"] == tenant.id
    return all(answer.status == 200 for answer in answers)


# --- Dies in the middle ----------------------------------------------------------------------


def test_a_connection_that_dies_in_a_request_leaves_nothing_half_written(
    web: WebServer, direct_database: Database, platform: Platform, acme: Tenant
) -> None:
    asking, number = web.with_key(acme.key), fresh_number()
    post = partial(asking.request, "POST", acme.url("/phone-numbers"), {"did_number": number})
    lock = f'LOCK TABLE "{acme.ref.schema}".phone_numbers IN ACCESS EXCLUSIVE MODE'

    with ThreadPoolExecutor(1) as thread, open_transaction(admin_db.database_url(), lock) as other:
        answering = thread.submit(post)
        [pid] = wait_until(lambda: waiting_pids(other))
        terminate_backend(other, pid)
        answer = answering.result(timeout=15)

    assert answer.is_unavailable
    assert platform.api.get("/api/dids", did_number=number).json == []
    assert acme.get("/phone-numbers").json == []
    assert _jobs(acme) == 0

    again = wait_until(lambda: not (it := post()).is_unavailable and it, within_s=BOUND_S + SLACK_S)
    assert again.status == 201


# --- Full ------------------------------------------------------------------------------------


def test_a_pool_without_a_connection_to_spare_is_answered_for_in_time(
    db_proxy: TcpProxy,
    environment: dict[str, str],
    direct_database: Database,
    acme: Tenant,
    globex: Tenant,
    tmp_path: Path,
) -> None:
    settings = {**environment, "DATABASE_POOL_SIZE": "1", "WEB_THREADS": "8"}
    row = f'SELECT * FROM "{acme.ref.schema}".settings FOR UPDATE'
    change = {"time_zone": "Europe/Berlin"}
    with run_gunicorn(settings, tmp_path / "log") as web:
        asking, other = web.with_key(acme.key), web.with_key(globex.key)
        patch = partial(asking.request, "PATCH", acme.url("/settings"), change)
        with open_transaction(admin_db.database_url(), row), _watching(web) as alive:
            answers = run_concurrently([*[patch] * 6, *_lists(web, globex, 6)])

        assert {answer.status for answer in answers} <= {200, 503}
        assert all(answer.is_unavailable or answer.is_busy for answer in answers[:6])
        assert any(answer.is_busy for answer in answers[:6])  # the one that waited for the lock
        assert max(answer.duration_s for answer in answers) < BOUND_S + SLACK_S
        assert {answer.status for answer in alive} == {200}
        assert patch().status == 200
        assert other.get(globex.url("/phone-numbers")).status == 200


def test_what_was_logged_meanwhile_is_json_and_tells_no_key(web: WebServer, acme: Tenant) -> None:
    web.with_key(acme.key).get(acme.url("/calls"))

    lines = web.program.lines()

    assert "request" in {line["event"] for line in lines}
    assert acme.key not in web.program.output.read_text()


def test_who_connects_and_says_nothing_keeps_no_thread(web: WebServer) -> None:
    with ExitStack() as silent:
        for _ in range(300):  # at five seconds each, all threads for a minute and a half
            silent.enter_context(socket.create_connection(("127.0.0.1", web.port)))

        assert web.get("/livez").status == 200
