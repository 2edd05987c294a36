"""Tests of public addresses, with the registry's list and with Python's classification."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.addresses import FORBIDDEN_ADDRESSES, PUBLIC_ADDRESSES
from vca.kit.addresses import Address, is_public, parse_networks


@pytest.mark.parametrize("text", FORBIDDEN_ADDRESSES)
def test_private_special_and_translated_addresses_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC_ADDRESSES)
def test_an_ordinary_address_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "network",
    [
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "::1/128", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"),
        *("100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "2002::/16"),
        *("2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10"),
        "ff00::/8",
    ],
)
def test_first_and_last_address_of_a_special_network_are_not_public(network: str) -> None:
    addresses = ip_network(network)

    assert not is_public(addresses[0])
    assert not is_public(addresses[-1])


@pytest.mark.parametrize(
    "text",
    [
        *("9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
        *("128.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0"),
        *("223.255.255.255", "2001:200::", "2003::", "3fff:1000::", "2000::"),
    ],
)
def test_addresses_next_to_a_special_network_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        st.integers(0, 2**32 - 1).map(IPv4Address),
        st.integers(0, 2**128 - 1).map(IPv6Address),
        st.integers(0, 2**125 - 1).map(lambda number: IPv6Address(1 << 125 | number)),
    )
)
def test_no_address_that_python_considers_special_is_public(address: Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_unspecified))
    if isinstance(address, IPv6Address) and is_public(address):
        embedded_addresses = (address.ipv4_mapped, address.sixtofour, address.teredo)
        assert embedded_addresses == (None, None, None)


def test_networks_are_parsed_from_a_list() -> None:
    networks = parse_networks("10.1.0.0/16, 192.0.2.7,fd00:1::/32")

    assert networks == tuple(map(ip_network, ("10.1.0.0/16", "192.0.2.7/32", "fd00:1::/32")))


@pytest.mark.parametrize(
    "text",
    [
        *("10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8,", "", "example.com", "10/8", "1", "fe80::/129"),
        *("0.0.0.0/0", "::/0", "10.0.0.0/8, ::/0", "fe80::%eth0/64", "١٠.0.0.0/8", "010.0.0.0/8"),
    ],
)
def test_an_invalid_network_or_one_of_all_addresses_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be networks"):
        parse_networks(text)
