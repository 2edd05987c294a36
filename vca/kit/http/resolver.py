"""Resolves names to addresses, and waits no longer than the deadline."""

import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from ipaddress import ip_address
from threading import Lock, Thread
from typing import TypeAlias

from vca.kit.addresses import Address
from vca.kit.deadline import Deadline
from vca.kit.http.errors import NameNotResolved, RequestTimeout
from vca.kit.http.policy import AddressPolicy

Lookup: TypeAlias = Callable[[str], Iterable[str]]
# An unresponsive name server can hold a lookup for a minute, while a request ends after 15 s. So
# there may be four lookups for each thread that sends requests.
MAX_LOOKUPS = 64


def system_lookup(name: str) -> list[str]:
    """Return the addresses that the system resolver finds for a name, best first; raise OSError."""
    infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in infos]


class Resolver:
    """Resolves names in its own threads: one lookup per name at a time, at most `max_lookups`.

    getaddrinfo has no timeout and cannot be interrupted. A lookup that outlasts its request
    continues in the background. To keep such lookups from piling up, requests for the same name
    share one lookup.
    """

    def __init__(self, lookup: Lookup = system_lookup, *, max_lookups: int = MAX_LOOKUPS) -> None:
        self._lookup = lookup
        self._max_lookups = max_lookups
        self._running: dict[str, Future[tuple[Address, ...]]] = {}
        self._lock = Lock()

    def resolve_allowed(
        self, host: str, port: int, policy: AddressPolicy, deadline: Deadline
    ) -> tuple[Address, ...]:
        """Return the addresses of a name, or the address itself, if the policy allows all of them.

        Raises RequestForbidden, and the errors of `resolve`.
        """
        try:
            addresses: tuple[Address, ...] = (ip_address(host),)
        except ValueError:
            addresses = self.resolve(host, deadline)
        policy.check_addresses(addresses, port)
        return addresses

    def resolve(self, name: str, deadline: Deadline) -> tuple[Address, ...]:
        """Return the addresses of the name, best first.

        Raises NameNotResolved and RequestTimeout.
        """
        future = self._start_lookup(name)
        try:
            addresses = future.result(deadline.remaining_s)
        except TimeoutError:
            raise RequestTimeout("The host name was not resolved in time.") from None
        except (OSError, ValueError) as error:
            raise NameNotResolved("The host name could not be resolved.") from error
        if not addresses:
            raise NameNotResolved("The host name has no address.")
        return addresses

    def _start_lookup(self, name: str) -> Future[tuple[Address, ...]]:
        with self._lock:
            future = self._running.get(name)
            if future is None:
                if len(self._running) >= self._max_lookups:
                    raise RequestTimeout("Too many host names are being resolved.")
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
            # Before the result is set, so that a caller that has seen it starts a new lookup.
            with self._lock:
                del self._running[name]
        if failure is None:
            future.set_result(addresses)
        else:
            future.set_exception(failure)
