"""Which addresses and ports requests may go to: URLs of tenants, and those of the operator."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from vca.kit.addresses import Address, Network, is_public
from vca.kit.http import urls
from vca.kit.http.errors import RequestForbidden
from vca.kit.http.urls import ParsedUrl

PORTS = (80, 443, 8080, 8443)


class AddressPolicy(Protocol):
    """Decides to which addresses the connections of a client go."""

    def check_addresses(self, addresses: Iterable[Address], port: int) -> None:
        """Raise RequestForbidden unless each of the addresses is allowed at the port."""


class OperatorPolicy:
    """Allow every address: the operator chooses the URL in the settings, also within a network."""

    def check_addresses(self, addresses: Iterable[Address], port: int) -> None:
        """Accept the addresses."""


@dataclass(frozen=True)
class UrlPolicy:
    """The policy for whatever tenants can point somewhere.

    It allows public addresses at the usual ports, and everything in the `networks` of the operator.
    `allow_http` also allows URLs without TLS. A network contains only addresses in its own
    notation: 10.0.0.0/8 does not contain ::ffff:10.0.0.1.
    """

    networks: tuple[Network, ...] = ()
    allow_http: bool = False
    ports: tuple[int, ...] = PORTS

    def parse_url(self, url: str) -> ParsedUrl:
        """Parse the URL; raise RequestForbidden if it is forbidden whatever it resolves to."""
        target = urls.parse(url)
        if not (target.uses_tls or self.allow_http):
            raise RequestForbidden("Must start with https://.")
        if target.address is not None:
            self.check_addresses([target.address], target.port)
        return target

    def check_addresses(self, addresses: Iterable[Address], port: int) -> None:
        """Raise RequestForbidden unless each of the addresses is allowed at the port."""
        outside = [address for address in addresses if not self._is_allowed_network(address)]
        if not all(map(is_public, outside)):
            raise RequestForbidden("The URL resolves to an address that is not public.")
        if outside and port not in self.ports:
            raise RequestForbidden(f"The port must be one of {', '.join(map(str, self.ports))}.")

    def _is_allowed_network(self, address: Address) -> bool:
        has_zone = "%" in str(address)
        return not has_zone and any(address in network for network in self.networks)
