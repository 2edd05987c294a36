"""Names and their addresses, waited for no longer than the deadline."""

import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from ipaddress import ip_address
from threading import Lock, Thread
from typing import TypeAlias

from vca.kit.addresses import Address
from vca.kit.http.errors import TooSlow, Unreachable
from vca.kit.http.waiting import left_s

Lookup: TypeAlias = Callable[[str], Iterable[str]]
# A dead name server holds a look-up for up to a minute, a request for 15 s: four threads of these
# for each that sends.
MOST_LOOKUPS = 64


def system_lookup(name: str) -> list[str]:
    """The addresses that this machine knows a name by, best first; raises OSError."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Names:
    """Looks names up in threads of its own, each name once at a time, at most `most` in all.

    getaddrinfo takes no time-out and cannot be interrupted: one that outlasts its request is left
    behind. So that they do not pile up, who asks for the same name waits for the same look-up.
    """

    def __init__(self, lookup: Lookup = system_lookup, *, most: int = MOST_LOOKUPS) -> None:
        self._lookup = lookup
        self._most = most
        self._running: dict[str, Future[tuple[Address, ...]]] = {}
        self._lock = Lock()

    def addresses(self, name: str) -> tuple[Address, ...]:
        """All addresses of the name, best first, at least one; raises Unreachable and TooSlow."""
        found = self._started(name)
        try:
            addresses = found.result(left_s())
        except TimeoutError:
            raise TooSlow("The name was not resolved in time.") from None
        except (OSError, ValueError) as error:
            raise Unreachable("The name could not be resolved.") from error
        if not addresses:
            raise Unreachable("The name has no address.")
        return addresses

    def _started(self, name: str) -> Future[tuple[Address, ...]]:
        with self._lock:
            found = self._running.get(name)
            if found is None:
                if len(self._running) >= self._most:
                    raise TooSlow("Too many names are being resolved.")
                found = Future()
                Thread(target=self._look_up, args=(name, found), daemon=True).start()
                self._running[name] = found
            return found

    def _look_up(self, name: str, found: Future[tuple[Address, ...]]) -> None:
        addresses: tuple[Address, ...] = ()
        failure = None
        try:
            addresses = tuple(ip_address(text) for text in self._lookup(name))
        except (OSError, ValueError) as error:
            failure = error
        finally:
            # First of all, so that who asks after this one's answer starts another.
            with self._lock:
                del self._running[name]
        if failure is None:
            found.set_result(addresses)
        else:
            found.set_exception(failure)
