"""Where a request comes from, and whose word is taken for it."""

import pytest

from vca.api import client_ip
from vca.kit.addresses import parse_networks

PROXIES = parse_networks("10.0.0.0/8,fd00::/16,127.0.0.1/32")


@pytest.mark.parametrize("header", ["198.51.100.7", "198.51.100.7, 10.0.0.1", "nonsense", ""])
def test_without_trusted_proxies_it_is_whoever_connects(header: str) -> None:
    assert client_ip.client_ip("203.0.113.9", header, ()) == "203.0.113.9"
    assert client_ip.client_ip("10.0.0.1", header, ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "header", "sender"),
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
def test_proxies_are_believed_as_far_as_they_are_trusted(
    peer: str | None, header: str, sender: str
) -> None:
    assert client_ip.client_ip(peer, header, PROXIES) == sender


@pytest.mark.parametrize(
    "written", ["nonsense", "unknown", "", "198.51.100.7:80", "_hidden", "1" * 5_000, "☎"]
)
def test_what_is_no_address_ends_the_chain(written: str) -> None:
    assert client_ip.client_ip("10.0.0.1", f"192.0.2.1, {written}, 10.0.0.2", PROXIES) == "10.0.0.2"


def test_a_chain_that_is_too_long_is_not_followed_to_its_end() -> None:
    assert client_ip.client_ip(
        "10.0.0.1", "192.0.2.1," + "10.0.0.2," * 500 + "10.0.0.3", PROXIES
    ) == ("10.0.0.2")


def test_the_addresses_of_a_home_are_one_sender() -> None:
    one, same = "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"

    assert (
        client_ip.client_ip(one, "", ()) == client_ip.client_ip(same, "", ()) == "2001:db8:0:1::/64"
    )
    assert client_ip.client_ip("2001:db8:0:2::1", "", ()) != client_ip.client_ip(one, "", ())
    assert client_ip.client_ip("fe80::1%eth0", "", ()) == "fe80::/64"


def test_a_socket_without_an_address_is_a_sender_too() -> None:
    assert client_ip.client_ip("", "198.51.100.7", ()) == ""
    assert client_ip.client_ip(None, "", PROXIES) == ""
