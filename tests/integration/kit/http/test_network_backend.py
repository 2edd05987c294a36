"""Tests of the network backend under a connection pool of httpcore."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpcore2
import pytest

from tests.fakes.http_receiver import HttpReceiver, http_receiver, keep_open
from tests.integration.kit.http.conftest import NAME, FakeNameService
from tests.support.smtp_server import client_context, server_context
from vca.kit.addresses import parse_networks
from vca.kit.deadline import Deadline
from vca.kit.http import RequestForbidden, Resolver, UrlPolicy
from vca.kit.http.errors import ResponseTooLarge
from vca.kit.http.network import GuardedBackend, GuardedStream
from vca.kit.http.policy import AddressPolicy, OperatorPolicy

LOOPBACK = UrlPolicy(parse_networks("127.0.0.0/8"))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def pool_of_httpcore(
    policy: AddressPolicy, *lookup_results: list[str]
) -> Iterator[httpcore2.ConnectionPool]:
    resolver = Resolver(FakeNameService(*lookup_results))
    with httpcore2.ConnectionPool(
        ssl_context=client_context(), network_backend=GuardedBackend(policy, resolver)
    ) as pool:
        yield pool


def timeouts(seconds: float) -> dict[str, dict[str, float]]:
    return {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_httpcore_sends_requests_over_the_backend(scheme: str) -> None:
    tls = server_context() if scheme == "https" else None
    with http_receiver(tls=tls) as receiver, pool_of_httpcore(LOOPBACK, ["127.0.0.1"]) as pool:
        receiver.behaviour = keep_open(receiver, OK)
        url = f"{scheme}://localhost:{receiver.port}/"
        for _ in range(2):
            assert pool.request("GET", url, extensions=timeouts(5)).content == b"ok"

        assert len(receiver.client_ports) == 1


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:7f00:1"]])
def test_a_forbidden_address_gets_no_connection(answer: list[str]) -> None:
    policy = UrlPolicy(ports=tuple(range(20_000, 30_000)))
    with http_receiver() as receiver, pool_of_httpcore(policy, answer) as pool:
        for host in (NAME, "127.0.0.1"):
            with pytest.raises(RequestForbidden):
                pool.request("GET", f"http://{host}:{receiver.port}/", extensions=timeouts(5))

        assert receiver.is_unvisited()


def test_the_operators_policy_allows_every_address() -> None:
    with http_receiver() as receiver, pool_of_httpcore(OperatorPolicy(), ["127.0.0.1"]) as pool:
        response = pool.request("GET", f"http://{NAME}:{receiver.port}/", extensions=timeouts(5))

        assert response.content == b"ok"


def test_the_first_exchange_shares_the_deadline_of_the_connection() -> None:
    def drip(connection: object, stop: object) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")  # type: ignore[attr-defined]
        while not stop.wait(0.05):  # type: ignore[attr-defined]
            connection.sendall(b"x")  # type: ignore[attr-defined]

    with http_receiver() as receiver, pool_of_httpcore(LOOPBACK, ["127.0.0.1"]) as pool:
        receiver.behaviour = drip

        with pytest.raises(httpcore2.ReadTimeout):
            pool.request("GET", f"http://{NAME}:{receiver.port}/", extensions=timeouts(0.4))


def test_a_response_is_limited() -> None:
    with http_receiver() as receiver, pool_of_httpcore(LOOPBACK, ["127.0.0.1"]) as pool:
        receiver.behaviour = keep_open(
            receiver, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
        )

        with pytest.raises(ResponseTooLarge):
            pool.request("GET", f"http://{NAME}:{receiver.port}/", extensions=timeouts(5))


def test_resolution_fails_with_the_errors_of_httpcore(server: HttpReceiver) -> None:
    with (
        pool_of_httpcore(LOOPBACK, []) as pool,
        pytest.raises(httpcore2.ConnectError, match="no address"),
    ):
        pool.request("GET", f"http://{NAME}:{server.port}/", extensions=timeouts(5))


def test_a_local_address_or_a_unix_socket_is_refused() -> None:
    backend = GuardedBackend(LOOPBACK, Resolver())

    with pytest.raises(ValueError, match="address"):
        backend.connect_tcp("127.0.0.1", 80, local_address="127.0.0.2")
    with pytest.raises(ValueError, match="Unix"):
        backend.connect_unix_socket("/run/docker.sock")


def test_data_that_tls_has_decrypted_makes_a_connection_readable() -> None:
    client, server = socket.socketpair()
    with ThreadPoolExecutor(1) as thread, client, server:
        wrapping = thread.submit(server_context().wrap_socket, server, server_side=True)
        opened_socket = client_context().wrap_socket(client, server_hostname="localhost")
        with wrapping.result() as other_end, opened_socket:
            other_end.sendall(b"ab")
            stream = GuardedStream(opened_socket, Deadline(5), max_bytes=1)

            assert opened_socket.recv(1) == b"a"
            assert stream.is_readable()
            assert opened_socket.recv(1) == b"b"
            assert not stream.is_readable()
