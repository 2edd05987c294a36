"""Strict URL parsing: a URL is parsed once, and what was checked is what the request uses."""

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
    """A URL in its only accepted spelling; `address` is None if the host is a name to resolve."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None

    @property
    def uses_tls(self) -> bool:
        """Whether requests to the URL are encrypted."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Return host and port as in the `Host` header."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> ParsedUrl:
    """Parse the URL; raises RequestForbidden for anything that is ambiguous."""
    match = _URL.fullmatch(url)
    if match is None:
        raise RequestForbidden(
            "Must be a URL such as https://example.com/hooks, at most 2,000 ASCII characters."
        )
    scheme, authority = match["scheme"].lower(), match["authority"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise RequestForbidden("Must start with https://.")
    if "@" in authority:
        raise RequestForbidden("Must not contain a user name or password.")
    if match["fragment"] is not None:
        raise RequestForbidden("Must not contain a fragment (#…), because fragments are not sent.")
    host, port, address = _parse_authority(authority, _DEFAULT_PORTS[scheme])
    path = match["path"] or "/"
    return ParsedUrl(scheme, host, port, path if path[0] == "/" else f"/{path}", address)


def _parse_authority(authority: str, default_port: int) -> tuple[str, int, Address | None]:
    match = _AUTHORITY.fullmatch(authority)
    port = int(match["port"] or default_port) if match else 0
    if match is None or port > 65535:
        raise RequestForbidden("Must contain a valid host and optionally a port.")
    address = _parse_address(match["host"], match["bracketed"])
    if address is None and not _is_name(match["host"]):
        # Resolvers accept 2130706433, 0x7f.1 and 0177.1 as addresses. The last label of a name is
        # never a number.
        raise RequestForbidden("The host must be a name or an address in standard notation.")
    return str(address or match["host"]), port, address


def _parse_address(host: str | None, bracketed: str | None) -> Address | None:
    try:
        return IPv6Address(bracketed) if host is None else IPv4Address(host)
    except AddressValueError:
        return None


def _is_name(host: str | None) -> bool:
    labels = (host or "").split(".")
    return len(host or "") <= 253 and all(map(_LABEL.fullmatch, labels)) and labels[-1][0].isalpha()
