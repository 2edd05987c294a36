"""Where a URL leads, read once and strictly: what is judged is what is sent."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from vca.kit.addresses import Address
from vca.kit.http.errors import RequestForbidden

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
class ParsedUrl:
    """A URL in its one spelling; `address` is None where the host is a name to be looked up."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None

    @property
    def uses_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as the header `Host` has them."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> ParsedUrl:
    """Where the URL leads; raises Refused for what can be read in more than one way."""
    match = _URL.fullmatch(url)
    if match is None:
        raise RequestForbidden(
            "Must be a URL, as https://example.com/hooks, of up to 2,000 ASCII characters."
        )
    scheme, authority = match["scheme"].lower(), match["authority"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise RequestForbidden("Must begin with https://.")
    if "@" in authority:
        raise RequestForbidden("Must not hold a user or a password.")
    if match["fragment"] is not None:
        raise RequestForbidden("Must not have a fragment (#…): it would not be sent.")
    host, port, address = _parse_authority(authority, _DEFAULT_PORTS[scheme])
    path = match["path"] or "/"
    return ParsedUrl(scheme, host, port, path if path[0] == "/" else f"/{path}", address)


def _parse_authority(authority: str, default_port: int) -> tuple[str, int, Address | None]:
    match = _AUTHORITY.fullmatch(authority)
    port = int(match["port"] or default_port) if match else 0
    if match is None or port > 65535:
        raise RequestForbidden("Must name a host, and maybe a port.")
    address = _parse_address(match["host"], match["bracketed"])
    if address is None and not _is_name(match["host"]):
        # Resolvers take 2130706433, 0x7f.1 and 0177.1 for addresses; a name's last label is no
        # number.
        raise RequestForbidden("The host must be a name, or an address in its usual spelling.")
    return str(address or match["host"]), port, address


def _parse_address(host: str | None, bracketed: str | None) -> Address | None:
    try:
        return IPv6Address(bracketed) if host is None else IPv4Address(host)
    except AddressValueError:
        return None


def _is_name(host: str | None) -> bool:
    labels = (host or "").split(".")
    return len(host or "") <= 253 and all(map(_LABEL.fullmatch, labels)) and labels[-1][0].isalpha()
