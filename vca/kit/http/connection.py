"""A connection to one address: each wait ends at the deadline, and the response size is limited."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vca.kit.addresses import Address
from vca.kit.http.deadline import remaining_or_raise_s
from vca.kit.http.errors import RequestTimeout, Unreachable

MAX_BYTES = 64 * 1024
# A name may have thousands of addresses; a request must not become a scan of them.
MAX_ADDRESSES_TRIED = 4


class ResponseTooLarge(Exception):
    """The response is larger than MAX_BYTES."""


class Connection:
    """An open connection; the caller closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._remaining_bytes = MAX_BYTES

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Start TLS and verify the certificate for the host; raises Unreachable."""
        with _translate_errors():
            self._socket.settimeout(remaining_or_raise_s())
            self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def send(self, data: bytes) -> None:
        """Send all of the data; raises Unreachable."""
        unsent = memoryview(data)
        with _translate_errors():
            while unsent:
                self._socket.settimeout(remaining_or_raise_s())
                unsent = unsent[self._socket.send(unsent) :]

    def receive(self) -> bytes:
        """Return the next bytes, none at the end; raises Unreachable and ResponseTooLarge."""
        if not self._remaining_bytes:
            raise ResponseTooLarge
        with _translate_errors():
            self._socket.settimeout(remaining_or_raise_s())
            data = self._socket.recv(self._remaining_bytes)
        self._remaining_bytes -= len(data)
        return data

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def connect(addresses: Sequence[Address], port: int) -> Connection:
    """Connect to the first address that accepts the connection; raises Unreachable.

    Each attempt gets an equal share of the remaining time, so that an unreachable address leaves
    time for the next one.
    """
    candidates = addresses[:MAX_ADDRESSES_TRIED]
    failure = Unreachable("The host has no address.")
    for index, address in enumerate(candidates):
        try:
            with _translate_errors():
                return Connection(
                    _open_socket(address, port, remaining_or_raise_s() / (len(candidates) - index))
                )
        except Unreachable as error:
            failure = error
    raise failure


def _open_socket(address: Address, port: int, timeout_s: float) -> socket.socket:
    """Return a socket that is connected to this address; resolves no names."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect((str(address), port))
    except OSError:
        sock.close()
        raise
    return sock


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise RequestTimeout("The request timed out.") from error
    except ssl.SSLCertVerificationError as error:
        message = f"The TLS certificate was rejected: {error.verify_message}."
        raise Unreachable(message) from error
    except ssl.SSLError as error:
        raise Unreachable("The TLS connection failed.") from error
    except OSError as error:
        raise Unreachable(f"The connection failed: {error.strerror or 'it was closed'}.") from error
