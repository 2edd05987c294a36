"""Determine where a request comes from: the peer, or the client that the operator's proxies report.

The address is only used to count failures. No URL is built from it, and it grants no access.
"""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from vca.kit.addresses import Address, Network

# Real chains are not longer. The rest of the header is untrusted text.
_MAX_HOPS = 20


def client_ip(peer: str | None, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """Return the client's address; for IPv6 its /64, because one home has that many addresses.

    `forwarded_for` is trusted from its end, as far as trusted proxies have written it. The result
    is empty for a Unix socket, which has no peer address.
    """
    address = _parse_address(peer or "")
    hops = forwarded_for.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:] if trusted else []
    while hops and (address is None or _is_in_any(address, trusted)):
        hop_address = _parse_address(hops.pop().strip())
        if hop_address is None:
            break
        address = hop_address
    return _limit_subject(address)


def _parse_address(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_in_any(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _limit_subject(address: Address | None) -> str:
    if address is None:
        return ""
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)
