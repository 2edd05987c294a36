"""Sockets of HTTP connections, with the interface of a network backend of httpcore.

Each wait ends at one deadline of the whole exchange, however slowly the other side sends, and the
number of received bytes is limited. Connections go only to addresses that a policy allows.

Importing this module imports httpcore, which takes a tenth of a second, so it is imported on first
use.
"""

import select
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import httpcore2
from typing_extensions import override

from vca.kit.addresses import Address
from vca.kit.deadline import Deadline
from vca.kit.http.errors import RequestTimeout, ResponseTooLarge, Unreachable
from vca.kit.http.messages import MAX_BYTES
from vca.kit.http.policy import AddressPolicy
from vca.kit.http.resolver import Resolver

DEFAULT_CONNECT_TIMEOUT_S = 15.0
# A name may have thousands of addresses; a request must not become a scan of them.
MAX_ADDRESSES_TRIED = 4
_READ_BYTES = 64 * 1024
_MAX_ANSWER_END_BYTES = 24


class GuardedStream(httpcore2.NetworkStream):
    """A connection to one address, used for one exchange after the other.

    `gather_s` is how long to gather data after the first of it has arrived, before it is passed on;
    a last wait of the same length can follow. Data that looks like the end of a streamed answer is
    passed on at once.
    """

    deadline: Deadline
    gather_s: float
    sent_bytes: int
    received_bytes: int

    def __init__(
        self,
        opened_socket: socket.socket,
        deadline: Deadline,
        *,
        address: Address | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.begin_exchange(deadline, max_bytes=max_bytes)
        self.address = address
        self.opened_at = monotonic()
        self._socket = opened_socket
        self._failure: OSError | None = None

    def begin_exchange(self, deadline: Deadline, *, max_bytes: int) -> None:
        """Begin an exchange that ends at the deadline and receives at most `max_bytes`."""
        self.deadline = deadline
        self.gather_s = 0.0
        self.sent_bytes = self.received_bytes = 0
        self._max_bytes = max_bytes

    def send(self, data: bytes) -> None:
        """Send all of the data. Raises OSError, also at the deadline."""
        unsent = memoryview(data)
        while unsent:
            self._socket.settimeout(self.deadline.require_s())
            count = self._socket.send(unsent)
            self.sent_bytes += count
            unsent = unsent[count:]

    def receive(self, max_bytes: int = _READ_BYTES) -> bytes:
        """Return what has arrived, after waiting for it; empty if the connection has ended.

        Raises OSError, also at the deadline, and ResponseTooLarge. Data that arrived before an
        error is returned first.
        """
        if self._failure is not None:
            raise self._failure
        limit = min(max_bytes, self._max_bytes - self.received_bytes)
        if not limit:
            raise ResponseTooLarge("the response is longer than the limit")
        self._socket.settimeout(self.deadline.require_s())
        data = self._socket.recv(limit)
        if data and self.gather_s:
            data = self._gather(data, limit)
        self.received_bytes += len(data)
        return data

    def _gather(self, data: bytes, limit: int) -> bytes:
        """Receive more until the time is over, there is much data or the answer has ended.

        A model sends a token at a time. Parsing several of them one after the other takes a
        fraction of the CPU time, because the code and its data are still in the processor's caches.
        """
        now = monotonic()
        ends_at = min(now + self.gather_s, self.deadline.ends_at)
        if ends_at <= now:
            return data
        # Set once, although the last wait can end late then: setting it costs a system call.
        self._socket.settimeout(ends_at - now)
        parts, free_bytes, last_bytes = [data], limit - len(data), data
        # This runs for each token of an answer.
        while free_bytes and not _contains_answer_end(last_bytes) and monotonic() < ends_at:
            try:
                data = self._socket.recv(free_bytes)
            except TimeoutError:
                break
            except OSError as error:
                self._failure = error  # after the data that arrived before it
                break
            if not data:
                break
            parts.append(data)
            free_bytes -= len(data)
            last_bytes = last_bytes[-_MAX_ANSWER_END_BYTES:] + data
        return b"".join(parts)

    def is_readable(self, *, wait_s: float = 0.0) -> bool:
        """Return whether the server has sent data, or closed the connection, or does so soon."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True  # TLS has decrypted more than was read
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(wait_s * 1000))

    def shut_down(self) -> None:
        """End a wait of another thread for data; closing the socket would not wake it."""
        # Not SSLSocket.shutdown, which would discard the TLS state while the reader uses it.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    # --- The interface of httpcore, with its errors; the deadline counts instead of timeouts ---

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive at most `max_bytes`; raises ReadTimeout, ReadError and ResponseTooLarge."""
        with _translate_errors(httpcore2.ReadTimeout, httpcore2.ReadError):
            return self.receive(max_bytes)

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of the buffer; raises WriteTimeout and WriteError."""
        with _translate_errors(httpcore2.WriteTimeout, httpcore2.WriteError):
            self.send(buffer)

    @override
    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    @override
    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "GuardedStream":
        """Start TLS and verify the certificate for the host; closes the connection if that fails.

        Raises ConnectTimeout and ConnectError.
        """
        deadline = _connect_deadline(timeout)
        with _translate_errors(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            try:
                self._socket.settimeout(deadline.require_s())
                self._socket = ssl_context.wrap_socket(
                    self._socket, server_hostname=server_hostname
                )
            except BaseException:
                self.close()
                raise
        return self

    @override
    def get_extra_info(self, info: str) -> Any:
        """Return what a connection of httpcore asks for."""
        if info == "is_readable":
            return self.is_readable()
        return self._socket if info == "socket" else None


class GuardedBackend(httpcore2.NetworkBackend):
    """Resolves a name once, checks each address, and connects only to these addresses.

    The first exchange on a connection shares the deadline with opening the connection.
    """

    def __init__(self, policy: AddressPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> GuardedStream:
        """Connect to a host within the timeout, resolution included.

        Raises RequestForbidden, ConnectTimeout and ConnectError.
        """
        if local_address is not None or socket_options:
            raise ValueError("a guarded connection has no address or socket options of its own")
        deadline = _connect_deadline(timeout)
        try:
            addresses = self._resolver.resolve_allowed(host, port, self._policy, deadline)
        except RequestTimeout as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except Unreachable as error:
            raise httpcore2.ConnectError(str(error)) from error
        return connect_to(addresses, port, deadline)

    @override
    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> GuardedStream:
        """Raise ValueError: no address policy applies to a file."""
        raise ValueError("a guarded connection uses no Unix socket")


def connect_to(addresses: Sequence[Address], port: int, deadline: Deadline) -> GuardedStream:
    """Connect to the first address that accepts the connection; resolves nothing.

    Each attempt gets an equal share of the remaining time, so that an unreachable address leaves
    time for the next one. Raises ConnectTimeout and ConnectError.
    """
    candidates = addresses[:MAX_ADDRESSES_TRIED]
    failure: Exception = httpcore2.ConnectError("the host has no address")
    for index, address in enumerate(candidates):
        try:
            with _translate_errors(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                timeout_s = deadline.require_s() / (len(candidates) - index)
                opened_socket = _open_socket(address, port, timeout_s)
                return GuardedStream(opened_socket, deadline, address=address)
        except (httpcore2.ConnectTimeout, httpcore2.ConnectError) as error:
            failure = error
    raise failure


def _open_socket(address: Address, port: int, timeout_s: float) -> socket.socket:
    """Return a socket that is connected to this address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    opened_socket = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened_socket.settimeout(timeout_s)
        opened_socket.connect((str(address), port))
        opened_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        opened_socket.close()
        raise
    return opened_socket


def _connect_deadline(timeout_s: float | None) -> Deadline:
    return Deadline.within_budget(DEFAULT_CONNECT_TIMEOUT_S if timeout_s is None else timeout_s)


@contextmanager
def _translate_errors(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except OSError as error:
        raise failure(str(error)) from error


def _contains_answer_end(data: bytes) -> bool:
    """Return whether an answer, its event stream or a chunked body ends here.

    Searching for each text takes a tenth of the time that a pattern of them would take.
    """
    return (
        b"[DONE]" in data
        or b"\n0\r\n" in data
        or b'"finish_reason":"' in data
        or b'"finish_reason": "' in data
    )
