"""Threads that only carriers and monitoring may use."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from flask import Flask

from tests.support import admin_db
from tests.support.factories import Tenant
from tests.support.locks import open_transaction, waiting_pids
from tests.support.processes import WebServer, run_gunicorn, wait_until
from tests.support.slow_clients import RawClient, encode_head, raw_clients
from tests.system.slow_clients.conftest import RingNumber

PROCESSES = 2


@pytest.fixture
def web(app: Flask, environment: dict[str, str], tmp_path: Path) -> Iterator[WebServer]:
    """Return a gunicorn whose processes have one thread for ordinary requests."""
    few_threads = {
        "WEB_THREADS": "3",
        "RESERVED_THREADS": "2",
        "RATE_LIMIT_THREADS": "0",
    }
    with run_gunicorn(environment | few_threads, tmp_path / "log") as web:
        yield web


def test_carriers_and_health_checks_are_served_while_all_others_wait(
    web: WebServer, acme: Tenant, globex: Tenant, ring_globex: RingNumber
) -> None:
    lock_settings = f'SELECT * FROM "{acme.ref.schema}".settings FOR UPDATE'
    change = partial(
        web.with_key(acme.key).request, "PATCH", acme.url("/settings"), {"home_country": "US"}
    )
    with ThreadPoolExecutor(6) as executor:
        with open_transaction(admin_db.database_url(), lock_settings):
            changes = [executor.submit(change) for _ in range(6)]
            statuses = [ring_globex().status, web.get("/livez", timeout_s=5).status]
            were_waiting = not any(future.done() for future in changes)
        responses = [future.result() for future in changes]

    assert statuses == [200, 200]
    assert were_waiting
    assert {response.status for response in responses} <= {200, 503}
    assert web.with_key(globex.key).get(globex.url("/phone-numbers")).status == 200


def _lock_settings(acme: Tenant) -> str:
    return f'LOCK TABLE "{acme.ref.schema}".settings IN ACCESS EXCLUSIVE MODE'


def _encode_change(acme: Tenant) -> bytes:
    """Return a request that waits for `_lock_settings`."""
    body = b'{"home_country": "US"}'
    headers = {
        "Authorization": f"Bearer {acme.key}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    return encode_head("PATCH", acme.url("/settings"), headers) + body


def test_requests_that_have_waited_count_as_working_again(web: WebServer, acme: Tenant) -> None:
    patch = _encode_change(acme)

    with raw_clients(web.port, 12) as clients:
        with open_transaction(admin_db.database_url(), _lock_settings(acme)) as other:
            for client in clients:
                client.send(patch[:-1])
                time.sleep(0.1)  # the body must be a slow one
                client.send(patch[-1:])
            wait_until(lambda: waiting_pids(other))
            working_count = len(waiting_pids(other))
        statuses = {client.read_response()[0] for client in clients}

    # One thread of each process works; a second one may have begun to wait for its body before.
    assert working_count <= 2 * PROCESSES
    assert statuses <= {200, 429, 503}


def test_requests_beyond_the_queue_are_refused_at_once(web: WebServer, acme: Tenant) -> None:
    patch = _encode_change(acme)
    listing = encode_head(
        "GET", acme.url("/phone-numbers"), {"Authorization": f"Bearer {acme.key}"}
    )

    with ExitStack() as stack, raw_clients(web.port, 700) as readers:
        with open_transaction(admin_db.database_url(), _lock_settings(acme)) as other:

            def all_processes_wait() -> bool:
                """Send one more change; the kernel decides which process gets it."""
                client = RawClient(web.port)
                stack.enter_context(client.socket)
                client.send(patch)
                return len(waiting_pids(other)) == PROCESSES

            wait_until(all_processes_wait)
            for client in readers:
                client.send(listing)
            last_response = readers[-1].read_response()
            some_still_wait = not all(client.has_data() for client in readers[:100])
        responses = [last_response, *(client.read_response() for client in readers[:-1])]

    assert last_response[0] == 429
    assert some_still_wait  # the last one was not refused for having waited too long
    assert {status for status, _ in responses} <= {200, 429}
    busy_responses = [content for status, content in responses if status == 429]
    assert all(
        '"code":"busy"' in content and '"limit":"busy"' in content for content in busy_responses
    )
    assert all("\r\nRetry-After: 1\r\n" in content for content in busy_responses)
