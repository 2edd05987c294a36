"""Web requests while the database is down, frozen or full, and after it is back."""

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

MAX_RESPONSE_S = 5.0
# A busy machine may delay a response by this much.
TOLERANCE_S = 2.0


@pytest.fixture
def platform(world: Factory) -> Platform:
    """Return a platform key and its API client."""
    return world.platform()


def _list_requests(web: WebServer, tenant: Tenant, count: int) -> list[Callable[[], HttpResponse]]:
    """Return functions that list the tenant's phone numbers."""
    client = web.with_key(tenant.key)
    return [partial(client.get, tenant.url("/phone-numbers"))] * count


@contextmanager
def _poll_liveness(web: WebServer) -> Iterator[list[HttpResponse]]:
    """Request /livez repeatedly until the block ends; yield the list of responses."""
    responses: list[HttpResponse] = []
    ended = Event()

    def poll() -> None:
        while True:
            responses.append(web.get("/livez"))
            if ended.wait(0.05):
                return

    thread = Thread(target=poll)
    thread.start()
    try:
        yield responses
    finally:
        ended.set()
        thread.join(timeout=20)


def _count_jobs(tenant: Tenant) -> int:
    query = text("SELECT count(*) FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id")
    with admin_db.public_session() as session:
        return session.scalar(query, {"id": tenant.id}) or 0


# --- The database is unreachable ---


def test_a_server_starts_without_its_database_and_serves_when_it_is_back(
    db_proxy: TcpProxy, environment: dict[str, str], acme: Tenant, tmp_path: Path
) -> None:
    db_proxy.cut()
    with run_gunicorn(environment, tmp_path / "log") as web:
        worker_pids = web.worker_pids()
        client = web.with_key(acme.key)
        health_response = web.get("/healthz")
        api_response = client.get(acme.url("/calls"))
        carrier_response = web.request("POST", "/telephony/fake/voice", {"call_id": "a"})

        assert web.get("/livez").status == 200
        assert web.get("/").status == 200
        assert health_response.is_unavailable
        assert health_response.json["database"] == "unavailable"
        assert api_response.is_unavailable
        assert carrier_response.status in (403, 503)
        slowest_s = max(health_response.duration_s, api_response.duration_s)
        assert slowest_s < MAX_RESPONSE_S + TOLERANCE_S

        db_proxy.restore()
        wait_until(
            lambda: client.get(acme.url("/calls")).status == 200,
            within_s=MAX_RESPONSE_S + TOLERANCE_S,
        )
        wait_until(lambda: web.get("/healthz").status == 200, within_s=MAX_RESPONSE_S + TOLERANCE_S)
        assert web.worker_pids() == worker_pids
        assert web.program.lines()


def _send_webhook(
    web: WebServer, carrier: FakeTelephonyAdapter, action: str, **fields: Any
) -> HttpResponse:
    """Send a signed webhook of the carrier."""
    request = carrier.signed_request(action, "/telephony/fake/", **fields)
    return web.request("POST", request.url, fields, extra_headers=request.headers)


@pytest.mark.parametrize("outage", ["cut", "freeze"])
def test_an_unreachable_database_returns_503_in_time_until_it_is_back(
    web: WebServer, db_proxy: TcpProxy, acme: Tenant, globex: Tenant, outage: str
) -> None:
    for tenant in (acme, globex):
        tenant.number(label=tenant.id)
    body = {"to": fresh_number()}
    simulate = partial(web.with_key(acme.key).request, "POST", acme.url("/simulations"), body)
    requests: list[Callable[[], HttpResponse]] = [
        *_list_requests(web, acme, 15),
        *_list_requests(web, globex, 15),
        simulate,
        simulate,
    ]
    healthy_responses = run_concurrently(requests)
    assert {response.status for response in healthy_responses} == {200, 404}
    # Includes what these requests take on this machine, busy as it is, without an outage.
    max_response_s = MAX_RESPONSE_S + max(response.duration_s for response in healthy_responses)

    getattr(db_proxy, outage)()
    with _poll_liveness(web) as liveness_responses:
        responses = run_concurrently(requests)
        responses += [requests[0](), web.get("/healthz"), simulate()]

    assert [response for response in responses if not response.is_unavailable] == []
    assert max(response.duration_s for response in responses) < max_response_s
    assert {response.status for response in liveness_responses} == {200}
    assert max(response.duration_s for response in liveness_responses) < max_response_s

    db_proxy.restore()
    for _ in range(4):
        wait_until(lambda: _all_requests_succeed(web, acme, globex), within_s=max_response_s)


@pytest.mark.parametrize("outage", ["cut", "freeze"])
def test_in_an_outage_callers_hear_a_sentence_and_carriers_resend_statuses(
    web: WebServer, db_proxy: TcpProxy, settings: Settings, acme: Tenant, outage: str
) -> None:
    carrier = FakeTelephonyAdapter.from_settings(settings)
    assert carrier is not None
    acme.profile(greeting="Acme here.")
    number = acme.number()["did_number"]
    call_id = f"outage-{outage}"
    answered = _send_webhook(web, carrier, "voice", call_id=call_id, to=number)
    state = answered.json["state"]
    assert answered.json["actions"][0]["text"] == "Acme here."
    send_status = partial(
        _send_webhook, web, carrier, "status", call_id=call_id, state=state, status="completed"
    )
    send_speech = partial(
        _send_webhook, web, carrier, "speech", call_id=call_id, state=state, text="Hello?"
    )
    ring = partial(_send_webhook, web, carrier, "voice", call_id=f"{call_id}-2", to=number)
    getattr(db_proxy, outage)()

    speech_response, ring_response, status_response = run_concurrently(
        [send_speech, ring, send_status]
    )

    for response in (speech_response, ring_response):
        assert response.status == 200
        assert [action["type"] for action in response.json["actions"]] == ["say", "hang_up"]
    assert status_response.is_unavailable

    db_proxy.restore()
    wait_until(lambda: send_status().status == 200)
    [call] = acme.get("/calls").json
    assert (call["provider_call_id"], call["status"]) == (call_id, "completed")


def _all_requests_succeed(web: WebServer, *tenants: Tenant) -> bool:
    """Return whether every process uses the database again.

    Fail if a successful response contains another tenant's data.
    """
    requests = [
        (tenant, request) for tenant in tenants for request in _list_requests(web, tenant, 8)
    ]
    responses = run_concurrently([request for _, request in requests])

    for (tenant, _), response in zip(requests, responses, strict=True):
        assert response.is_unavailable or response.json[0]["label"] == tenant.id
    return all(response.status == 200 for response in responses)


# --- A connection is lost during a request ---


def test_a_connection_lost_during_a_request_leaves_no_partial_changes(
    web: WebServer, direct_database: Database, platform: Platform, acme: Tenant
) -> None:
    client, number = web.with_key(acme.key), fresh_number()
    post = partial(client.request, "POST", acme.url("/phone-numbers"), {"did_number": number})
    lock = f'LOCK TABLE "{acme.ref.schema}".phone_numbers IN ACCESS EXCLUSIVE MODE'

    with ThreadPoolExecutor(1) as thread, open_transaction(admin_db.database_url(), lock) as other:
        pending_response = thread.submit(post)
        [pid] = wait_until(lambda: waiting_pids(other))
        terminate_backend(other, pid)
        response = pending_response.result(timeout=15)

    assert response.is_unavailable
    assert platform.api.get("/api/dids", did_number=number).json == []
    assert acme.get("/phone-numbers").json == []
    assert _count_jobs(acme) == 0

    def retry() -> HttpResponse | None:
        retry_response = post()
        return None if retry_response.is_unavailable else retry_response

    available_response = wait_until(retry, within_s=MAX_RESPONSE_S + TOLERANCE_S)
    assert available_response is not None
    assert available_response.status == 201


# --- All connections or threads are in use ---


def test_an_exhausted_connection_pool_returns_503_in_time(
    db_proxy: TcpProxy,
    environment: dict[str, str],
    direct_database: Database,
    acme: Tenant,
    globex: Tenant,
    tmp_path: Path,
) -> None:
    settings = {**environment, "DATABASE_POOL_SIZE": "1", "WEB_THREADS": "8"}
    lock_row = f'SELECT * FROM "{acme.ref.schema}".settings FOR UPDATE'
    change = {"time_zone": "Europe/Berlin"}
    with run_gunicorn(settings, tmp_path / "log") as web:
        acme_client, globex_client = web.with_key(acme.key), web.with_key(globex.key)
        patch = partial(acme_client.request, "PATCH", acme.url("/settings"), change)
        requests: list[Callable[[], HttpResponse]] = [
            *[patch] * 6,
            *_list_requests(web, globex, 6),
        ]
        with (
            open_transaction(admin_db.database_url(), lock_row),
            _poll_liveness(web) as liveness_responses,
        ):
            responses = run_concurrently(requests)

        assert {response.status for response in responses} <= {200, 503}
        assert all(response.is_unavailable or response.is_busy for response in responses[:6])
        assert any(response.is_busy for response in responses[:6])  # waited for the lock
        assert max(response.duration_s for response in responses) < MAX_RESPONSE_S + TOLERANCE_S
        assert {response.status for response in liveness_responses} == {200}
        assert patch().status == 200
        assert globex_client.get(globex.url("/phone-numbers")).status == 200


def test_the_log_consists_of_json_lines_without_the_api_key(web: WebServer, acme: Tenant) -> None:
    web.with_key(acme.key).get(acme.url("/calls"))

    lines = web.program.lines()

    assert "request" in {line["event"] for line in lines}
    assert acme.key not in web.program.output.read_text()


def test_idle_connections_occupy_no_thread(web: WebServer) -> None:
    with ExitStack() as idle_connections:
        for _ in range(300):  # at five seconds each, all threads for a minute and a half
            idle_connections.enter_context(socket.create_connection(("127.0.0.1", web.port)))

        assert web.get("/livez").status == 200
