"""Tests of the addresses and names to which the outgoing HTTP client connects."""

import socket

import pytest

from tests.fakes.http_receiver import HttpReceiver, http_receiver, reply_with
from tests.integration.kit.http.conftest import (
    BODY,
    JSON,
    NAME,
    FakeNameService,
    build_url,
    create_client,
    create_loopback_client,
)
from tests.support.addresses import FORBIDDEN_ADDRESSES, PUBLIC_ADDRESSES
from vca.app import outgoing_client
from vca.kit.addresses import parse_networks
from vca.kit.http import OutgoingClient, RequestForbidden, Resolver, Unreachable, UrlPolicy
from vca.settings import read_settings


@pytest.fixture
def connected_addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every connection of the process fail, and return the addresses of the attempts."""
    addresses: list[str] = []

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        addresses.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return addresses


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_a_special_address_is_rejected_by_check_and_post_without_a_connection(
    address: str, connected_addresses: list[str]
) -> None:
    client_of_name = create_client([address], ports=(80,))
    client_of_mixed_name = create_client(
        [PUBLIC_ADDRESSES[0], PUBLIC_ADDRESSES[3], address], ports=(80,)
    )
    client_of_address = create_client([], ports=(80,))

    for client, url in (
        (client_of_name, build_url(NAME)),
        (client_of_mixed_name, build_url(NAME)),
        (client_of_address, build_url(address)),
    ):
        with pytest.raises(RequestForbidden) as check_error:
            client.check(url)
        with pytest.raises(RequestForbidden) as post_error:
            client.post(url, BODY, JSON, timeout_s=1)
        assert str(check_error.value) == str(post_error.value)
        assert address not in str(post_error.value)
    assert connected_addresses == []


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_the_client_connects_only_to_the_resolved_public_address(
    address: str, connected_addresses: list[str]
) -> None:
    for client, url in (
        (create_client([address], ports=(80,)), build_url(NAME)),
        (create_client([], ports=(80,)), build_url(address)),
    ):
        client.check(url)
        assert connected_addresses == []
        with pytest.raises(Unreachable, match="Connection refused"):
            client.post(url, BODY, JSON)
        assert connected_addresses == [address]
        connected_addresses.clear()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "0.0.0.0",
        "0",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "①②⑦.0.0.1",
        "１２７.0.0.1",
        "user@127.0.0.1",
        "8.8.8.8@127.0.0.1",
        "127.0.0.1%00",
    ],
)
def test_no_spelling_of_a_loopback_address_reaches_the_server(
    host: str, server: HttpReceiver
) -> None:
    client = OutgoingClient(UrlPolicy(allow_http=True, ports=(server.port,)))

    with pytest.raises(RequestForbidden):
        client.post(f"http://{host}:{server.port}/", BODY, JSON)

    assert server.is_unvisited()


def test_a_name_with_one_private_address_is_rejected(server: HttpReceiver) -> None:
    client = create_client(["8.8.8.8", "127.0.0.1"], ports=(server.port,))

    with pytest.raises(RequestForbidden, match="not public"):
        client.post(build_url(NAME, server.port), BODY, JSON)

    assert server.is_unvisited()


def test_a_name_that_resolves_to_a_private_address_later_is_rejected(
    server: HttpReceiver,
) -> None:
    client = create_client(["8.8.8.8"], ["127.0.0.1"], ports=(server.port,))
    url = build_url(NAME, server.port)

    client.check(url)
    with pytest.raises(RequestForbidden, match="not public"):
        client.post(url, BODY, JSON)

    assert server.is_unvisited()


def test_check_and_connection_use_the_same_lookup_of_a_name() -> None:
    name_service = FakeNameService(["127.0.0.2"], ["127.0.0.1"])
    policy = UrlPolicy(parse_networks("127.0.0.2"), allow_http=True)
    with (
        http_receiver("127.0.0.2") as checked_receiver,
        http_receiver("127.0.0.1", port=checked_receiver.port) as other_receiver,
    ):
        response = OutgoingClient(policy, resolver=Resolver(name_service)).post(
            build_url(NAME, checked_receiver.port), BODY, JSON
        )

        assert response.status == 200
        assert len(checked_receiver.client_ports) == 1
        assert other_receiver.is_unvisited()
    assert name_service.requested_names == [NAME]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_returned_and_not_followed(status: int, server: HttpReceiver) -> None:
    with http_receiver() as target:
        server.behaviour = reply_with(
            b"HTTP/1.1 %d Go\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            % (status, target.port)
        )

        response = create_loopback_client().post(build_url(NAME, server.port), BODY, JSON)

        assert response.status == status
        assert response.headers["location"] == f"http://127.0.0.1:{target.port}/"
        assert target.is_unvisited()


def test_proxies_and_netrc_of_the_environment_are_ignored(
    server: HttpReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write(f"machine {NAME} login vca password secret\ndefault login vca password secret\n")
    with http_receiver() as proxy:
        monkeypatch.setenv("NETRC", netrc)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for variable in (name, name.lower()):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")

        create_loopback_client().post(build_url(NAME, server.port), BODY, JSON)

        assert proxy.is_unvisited()
    assert b"authorization" not in server.requests[0].lower()


def test_at_most_four_addresses_are_tried(
    server: HttpReceiver, connected_addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [f"8.8.8.{number}" for number in range(200)]

    with pytest.raises(Unreachable):
        create_client(addresses, ports=(80,)).post(build_url(NAME), BODY, JSON)

    assert connected_addresses == addresses[:4]
    monkeypatch.undo()
    client = create_client(["127.0.0.9", "127.0.0.1"], networks="127.0.0.0/8")
    assert client.post(build_url(NAME, server.port), BODY, JSON).status == 200


def test_the_settings_allow_private_networks_and_http(server: HttpReceiver) -> None:
    environment = {
        "DATABASE_URL": "postgresql://localhost/nowhere",
        "APP_ENV": "development",
        "APP_NAME": "VCA",
        "DEBUG": "false",
        "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
    }
    permissions = {"WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32", "WEBHOOK_ALLOW_HTTP": "true"}
    url = build_url("127.0.0.1", server.port)

    for insufficient_permissions in ({}, *({name: permissions[name]} for name in permissions)):
        with pytest.raises(RequestForbidden):
            outgoing_client(read_settings({**environment, **insufficient_permissions})).post(
                url, BODY, JSON
            )
    assert server.is_unvisited()
    assert (
        outgoing_client(read_settings({**environment, **permissions})).post(url, BODY, JSON).status
        == 200
    )
