"""Where a request comes from: whoever connects, or whom the operator's own proxies name.

Only failures are counted by it. No URL is made from it, and no access is granted by it.
"""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from vca.kit.addresses import Address, Network

# Longer chains are nobody's; the rest of the header is a stranger's text.
_MAX_HOPS = 20


def client_ip(peer: str | None, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The sender's address, of IPv6 its /64: a home has as many addresses as it likes.

    `forwarded_for` is believed from its end, as far as trusted proxies have written it. Empty where
    a Unix socket tells nothing.
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
