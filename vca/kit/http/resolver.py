"""Names and their addresses, waited for no longer than the deadline."""

import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from ipaddress import ip_address
from threading import Lock, Thread
from typing import TypeAlias

from vca.kit.addresses import Address
from vca.kit.http.deadline import remaining_or_raise_s
from vca.kit.http.errors import RequestTimeout, Unreachable

Lookup: TypeAlias = Callable[[str], Iterable[str]]
# A dead name server holds a look-up for up to a minute, a request for 15 s: four threads of these
# for each that sends.
MAX_LOOKUPS = 64


def system_lookup(name: str) -> list[str]:
    """The addresses that this machine knows a name by, best first; raises OSError."""
    infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in infos]


class Resolver:
    """Looks names up in threads of its own, each name once at a time, at most `most` in all.

    getaddrinfo takes no time-out and cannot be interrupted: one that outlasts its request is left
    behind. So that they do not pile up, who asks for the same name waits for the same look-up.
    """

    def __init__(self, lookup: Lookup = system_lookup, *, max_lookups: int = MAX_LOOKUPS) -> None:
        self._lookup = lookup
        self._max_lookups = max_lookups
        self._running: dict[str, Future[tuple[Address, ...]]] = {}
        self._lock = Lock()

    def resolve(self, name: str) -> tuple[Address, ...]:
        """All addresses of the name, best first, at least one; raises Unreachable and TooSlow."""
        future = self._start_lookup(name)
        try:
            addresses = future.result(remaining_or_raise_s())
        except TimeoutError:
            raise RequestTimeout("The name was not resolved in time.") from None
        except (OSError, ValueError) as error:
            raise Unreachable("The name could not be resolved.") from error
        if not addresses:
            raise Unreachable("The name has no address.")
        return addresses

    def _start_lookup(self, name: str) -> Future[tuple[Address, ...]]:
        with self._lock:
            future = self._running.get(name)
            if future is None:
                if len(self._running) >= self._max_lookups:
                    raise RequestTimeout("Too many names are being resolved.")
                future = Future()
                Thread(target=self._look_up, args=(name, future), daemon=True).start()
                self._running[name] = future
            return future

    def _look_up(self, name: str, future: Future[tuple[Address, ...]]) -> None:
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
            future.set_result(addresses)
        else:
            future.set_exception(failure)
