"""Where a URL leads, read once and strictly: what is judged is what is sent."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from vca.kit.addresses import Address
from vca.kit.http.errors import Refused

_DEFAULT_PORTS = {"https": 443, "http": 80}
_URL = re.compile(
    r"(?=[!-~]{1,2000}\Z)"  # ASCII, no space
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#\\]*)"
    r"(?P<path>[/?][^#]*)?(?P<fragment>#.*)?",
    re.ASCII | re.IGNORECASE,
)
_AUTHORITY = re.compile(
    r"(?:\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<host>[a-z0-9.-]+))(?::(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII,
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True)
class Target:
    """A URL in its one spelling; `address` is None where the host is a name to be looked up."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None

    @property
    def encrypted(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as the header `Host` has them."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def read(url: str) -> Target:
    """Where the URL leads; raises Refused for what can be read in more than one way."""
    found = _URL.fullmatch(url)
    if found is None:
        raise Refused(
            "Must be a URL, as https://example.com/hooks, of up to 2,000 ASCII characters."
        )
    scheme, authority = found["scheme"].lower(), found["authority"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise Refused("Must begin with https://.")
    if "@" in authority:
        raise Refused("Must not hold a user or a password.")
    if found["fragment"] is not None:
        raise Refused("Must not have a fragment (#…): it would not be sent.")
    host, port, address = _read_authority(authority, _DEFAULT_PORTS[scheme])
    path = found["path"] or "/"
    return Target(scheme, host, port, path if path[0] == "/" else f"/{path}", address)


def _read_authority(authority: str, default: int) -> tuple[str, int, Address | None]:
    found = _AUTHORITY.fullmatch(authority)
    port = int(found["port"] or default) if found else 0
    if found is None or port > 65535:
        raise Refused("Must name a host, and maybe a port.")
    address = _address(found["host"], found["bracketed"])
    if address is None and not _is_name(found["host"]):
        # Resolvers take 2130706433, 0x7f.1 and 0177.1 for addresses; a name's last label is no
        # number.
        raise Refused("The host must be a name, or an address in its usual spelling.")
    return str(address or found["host"]), port, address


def _address(host: str | None, bracketed: str | None) -> Address | None:
    try:
        return IPv6Address(bracketed) if host is None else IPv4Address(host)
    except AddressValueError:
        return None


def _is_name(host: str | None) -> bool:
    labels = (host or "").split(".")
    return len(host or "") <= 253 and all(map(_LABEL.fullmatch, labels)) and labels[-1][0].isalpha()
