"""Where requests may go."""

from collections.abc import Iterable
from dataclasses import dataclass

from vca.kit.addresses import Address, Network, is_public
from vca.kit.http import urls
from vca.kit.http.errors import RequestForbidden
from vca.kit.http.urls import ParsedUrl

PORTS = (80, 443, 8080, 8443)


@dataclass(frozen=True)
class UrlPolicy:
    """Public addresses at the usual ports, and all of what an operator opened: `networks`, `http`.

    A network opens the addresses that are written as its own are: 10.0.0.0/8 does not open
    ::ffff:10.0.0.1.
    """

    networks: tuple[Network, ...] = ()
    allow_http: bool = False
    ports: tuple[int, ...] = PORTS

    def parse_url(self, url: str) -> ParsedUrl:
        """Where the URL leads; raises Refused for what is wrong with it before a look-up."""
        target = urls.parse(url)
        if not (target.uses_tls or self.allow_http):
            raise RequestForbidden("Must begin with https://.")
        if target.address is not None:
            self.check_addresses([target.address], target.port)
        return target

    def check_addresses(self, addresses: Iterable[Address], port: int) -> None:
        """Raise Refused unless each of the addresses may be connected to at the port."""
        outside = [address for address in addresses if not self._is_allowed_network(address)]
        if not all(map(is_public, outside)):
            raise RequestForbidden("Leads to an address that is not public.")
        if outside and port not in self.ports:
            raise RequestForbidden(f"The port must be one of {', '.join(map(str, self.ports))}.")

    def _is_allowed_network(self, address: Address) -> bool:
        has_zone = "%" in str(address)
        return not has_zone and any(address in network for network in self.networks)
