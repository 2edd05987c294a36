"""Fixtures and helpers for tests of the outgoing HTTP client with real sockets on loopback."""

import ssl
from collections.abc import Iterator

import pytest

from tests.fakes.http_receiver import HttpReceiver, http_receiver
from vca.kit.addresses import parse_networks
from vca.kit.http import OutgoingClient, Resolver, UrlPolicy

NAME = "hooks.example.com"
BODY = b'{"type":"call.ended"}'
JSON = {"Content-Type": "application/json"}


class FakeNameService:
    """A name service that returns its results in turn, and then always the last one."""

    def __init__(self, *results: list[str]) -> None:
        self._results = list(results)
        self.requested_names: list[str] = []

    def __call__(self, name: str) -> list[str]:
        self.requested_names.append(name)
        return self._results.pop(0) if len(self._results) > 1 else self._results[0]


def create_client(
    *lookup_results: list[str],
    networks: str = "",
    ports: tuple[int, ...] = (),
    context: ssl.SSLContext | None = None,
) -> OutgoingClient:
    """Create a client that may use HTTP; its name service returns these results."""
    policy = UrlPolicy(parse_networks(networks) if networks else (), allow_http=True, ports=ports)
    resolver = Resolver(FakeNameService(*lookup_results))
    return OutgoingClient(policy, resolver=resolver, tls_context=context)


def create_loopback_client(context: ssl.SSLContext | None = None) -> OutgoingClient:
    return create_client(["127.0.0.1"], networks="127.0.0.0/8", context=context)


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


def build_url(host: str, port: int = 80, scheme: str = "http") -> str:
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
