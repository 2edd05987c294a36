"""Tests of the client address of a request behind trusted proxies."""

import pytest

from vca.api import client_ip
from vca.kit.addresses import parse_networks

PROXIES = parse_networks("10.0.0.0/8,fd00::/16,127.0.0.1/32")


@pytest.mark.parametrize("header", ["198.51.100.7", "198.51.100.7, 10.0.0.1", "nonsense", ""])
def test_without_trusted_proxies_the_client_is_the_peer(header: str) -> None:
    assert client_ip.client_ip("203.0.113.9", header, ()) == "203.0.113.9"
    assert client_ip.client_ip("10.0.0.1", header, ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "header", "expected"),
    [
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.0.0.1", "192.0.2.1, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7,fd00::2,127.0.0.1", "198.51.100.7"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ("203.0.113.9", "198.51.100.7", "203.0.113.9"),
        ("", "198.51.100.7", "198.51.100.7"),
        (None, "198.51.100.7", "198.51.100.7"),
    ],
)
def test_the_client_is_the_last_untrusted_address(
    peer: str | None, header: str, expected: str
) -> None:
    assert client_ip.client_ip(peer, header, PROXIES) == expected


@pytest.mark.parametrize(
    "entry", ["nonsense", "unknown", "", "198.51.100.7:80", "_hidden", "1" * 5_000, "☎"]
)
def test_an_invalid_address_ends_the_chain(entry: str) -> None:
    assert client_ip.client_ip("10.0.0.1", f"192.0.2.1, {entry}, 10.0.0.2", PROXIES) == "10.0.0.2"


def test_a_very_long_chain_is_not_followed_to_its_end() -> None:
    assert client_ip.client_ip(
        "10.0.0.1", "192.0.2.1," + "10.0.0.2," * 500 + "10.0.0.3", PROXIES
    ) == ("10.0.0.2")


def test_addresses_of_one_ipv6_network_are_the_same_client() -> None:
    first, second = "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"

    assert (
        client_ip.client_ip(first, "", ())
        == client_ip.client_ip(second, "", ())
        == "2001:db8:0:1::/64"
    )
    assert client_ip.client_ip("2001:db8:0:2::1", "", ()) != client_ip.client_ip(first, "", ())
    assert client_ip.client_ip("fe80::1%eth0", "", ()) == "fe80::/64"


def test_a_socket_without_an_address_is_a_client() -> None:
    assert client_ip.client_ip("", "198.51.100.7", ()) == ""
    assert client_ip.client_ip(None, "", PROXIES) == ""
