"""Where requests may go."""

from collections.abc import Iterable
from dataclasses import dataclass

from vca.kit.addresses import Address, Network, is_public
from vca.kit.http import target
from vca.kit.http.errors import Refused
from vca.kit.http.target import Target

PORTS = (80, 443, 8080, 8443)


@dataclass(frozen=True)
class Allowed:
    """Public addresses at the usual ports, and all of what an operator opened: `networks`, `http`.

    A network opens the addresses that are written as its own are: 10.0.0.0/8 does not open
    ::ffff:10.0.0.1.
    """

    networks: tuple[Network, ...] = ()
    http: bool = False
    ports: tuple[int, ...] = PORTS

    def read(self, url: str) -> Target:
        """Where the URL leads; raises Refused for what is wrong with it before a look-up."""
        found = target.read(url)
        if not (found.encrypted or self.http):
            raise Refused("Must begin with https://.")
        if found.address is not None:
            self.judge([found.address], found.port)
        return found

    def judge(self, addresses: Iterable[Address], port: int) -> None:
        """Raise Refused unless each of the addresses may be connected to at the port."""
        foreign = [address for address in addresses if not self._opened(address)]
        if not all(map(is_public, foreign)):
            raise Refused("Leads to an address that is not public.")
        if foreign and port not in self.ports:
            raise Refused(f"The port must be one of {', '.join(map(str, self.ports))}.")

    def _opened(self, address: Address) -> bool:
        scoped = "%" in str(address)
        return not scoped and any(address in network for network in self.networks)
