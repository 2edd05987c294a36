"""Clients that drip the heads of their requests, or do not read their responses."""

import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factories import Tenant
from tests.support.processes import WebServer
from tests.support.slow_clients import RawClient, dripping, encode_head, raw_clients
from tests.system.slow_clients.conftest import RingNumber
from vca.servers import open_files

ANSWER_S = 5.0


def test_200_clients_that_drip_their_heads_delay_nobody(
    web: WebServer, globex: Tenant, ring_globex: RingNumber
) -> None:
    client = web.with_key(globex.key)

    with raw_clients(web.port, 200) as slow, dripping(slow, b"GET /livez HTTP/1.1\r\nX: "):
        statuses = [
            web.get("/livez", timeout_s=ANSWER_S).status,
            client.get(globex.url("/phone-numbers"), timeout_s=ANSWER_S).status,
            ring_globex().status,
        ]

    assert statuses == [200, 200, 200]


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open as many files as the system allows."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files.raise_limit()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_files")
def test_a_process_without_open_files_left_serves_others_and_does_not_end(
    web: WebServer, globex: Tenant
) -> None:
    client = web.with_key(globex.key)
    pids = web.worker_pids()
    for pid in pids:
        open_count = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        soft_limit, hard_limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft_limit == min(hard_limit, 65_536)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_count + 40, hard_limit))

    with raw_clients(web.port, 300) as slow, dripping(slow, b"GET /livez HTTP/1.1\r\nX: "):
        responses = [
            client.get(globex.url("/phone-numbers"), timeout_s=ANSWER_S) for _ in range(10)
        ]

    assert [response.status for response in responses] == [200] * 10
    assert web.worker_pids() == pids


@pytest.mark.usefixtures("many_files")
def test_more_dripping_clients_than_connections_keep_nobody_out(
    web: WebServer, globex: Tenant
) -> None:
    client = web.with_key(globex.key)

    with raw_clients(web.port, 2_200) as slow, dripping(slow, b"GET /livez HTTP/1.1\r\nX: "):
        response = client.get(globex.url("/phone-numbers"), timeout_s=ANSWER_S)

    assert response.status == 200


def test_a_head_that_does_not_end_closes_the_connection(web: WebServer) -> None:
    with raw_clients(web.port, 1) as [client], dripping([client], b"GET /livez HTTP/1.1\r\nX: "):
        assert client.is_closed_by_server()


def test_the_next_head_on_a_kept_connection_has_the_same_limit(web: WebServer) -> None:
    with raw_clients(web.port, 1) as [client]:
        client.send(encode_head("GET", "/livez"))
        first, _ = client.read_response()
        with dripping([client], b"GET /livez HTTP/1.1\r\nX: "):
            assert client.is_closed_by_server()

    assert first == 200


def test_a_head_in_pieces_is_read(web: WebServer) -> None:
    with raw_clients(web.port, 1) as [client]:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for chunk in (b"GET /li", b"vez HTTP/1.1\r\nHost: vca\r", b"\n", b"\r\n"):
            client.send(chunk)
            time.sleep(0.02)  # each chunk must be a packet of its own

        assert client.read_response()[0] == 200


def test_pipelined_requests_are_answered_in_order(web: WebServer) -> None:
    with raw_clients(web.port, 1) as [client]:
        client.send(encode_head("GET", "/livez") + encode_head("GET", "/") + b"GET /livez HTTP")
        first, second = client.read_response(), client.read_response()
        client.send(b"/1.1\r\nHost: vca\r\n\r\n")
        third = client.read_response()

    assert [status for status, _ in (first, second, third)] == [200, 200, 200]
    assert '"status":"ok"' in first[1]
    assert "links" in second[1]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez HTTP/1.1\nHost: vca\n\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: vca\n", 400),
        (b"\r\n\r\n", 400),
        (b"\r\nGET /livez HTTP/1.1\r\nHost: vca\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\r\nX: " + b"a" * 70_000, 431),
    ],
)
def test_malformed_heads_are_answered_at_once(web: WebServer, head: bytes, status: int) -> None:
    with raw_clients(web.port, 1) as [client]:
        client.send(head)

        assert client.read_response()[0] == status


def test_clients_that_do_not_read_their_responses_delay_nobody(
    web: WebServer, globex: Tenant, ring_globex: RingNumber
) -> None:
    client = web.with_key(globex.key)
    request = encode_head("GET", "/api/openapi.json")

    with raw_clients(web.port, 80, receive_buffer=4_096) as slow:
        for connection in slow:
            connection.send(request * 8)
        statuses = [
            web.get("/livez", timeout_s=ANSWER_S).status,
            client.get(globex.url("/phone-numbers"), timeout_s=ANSWER_S).status,
            ring_globex().status,
        ]

    assert statuses == [200, 200, 200]


def test_clients_that_stay_after_the_end_of_their_connection_delay_nobody(
    web: WebServer,
) -> None:
    request = encode_head("GET", "/livez", {"Connection": "close"})

    with raw_clients(web.port, 40) as slow:
        for connection in slow:
            connection.send(request)
        statuses = [connection.read_response()[0] for connection in slow]
        response = web.get("/livez", timeout_s=ANSWER_S)

    assert statuses == [200] * 40
    assert response.status == 200


def test_a_kept_connection_serves_many_requests(web: WebServer) -> None:
    client = RawClient(web.port)
    with client.socket:
        statuses = []
        for _ in range(20):
            client.send(encode_head("GET", "/livez"))
            statuses.append(client.read_response()[0])

    assert statuses == [200] * 20
