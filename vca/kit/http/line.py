"""A connection to one address, each wait within the deadline, and read to a limit only."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vca.kit.addresses import Address
from vca.kit.http.errors import TooSlow, Unreachable
from vca.kit.http.waiting import left_s

MAX_BYTES = 64 * 1024
# A name may have thousands of addresses, and a request must not become a scan of them.
MOST_TRIED = 4


class EnoughRead(Exception):
    """MAX_BYTES were read, and there are more."""


class Line:
    """An open connection; closed by whoever opened it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._unread = MAX_BYTES

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Go on under TLS with whoever has a certificate for the host; raises Unreachable."""
        with _failing():
            self._socket.settimeout(left_s())
            self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def send(self, data: bytes) -> None:
        """Send all of the data; raises Unreachable."""
        rest = memoryview(data)
        with _failing():
            while rest:
                self._socket.settimeout(left_s())
                rest = rest[self._socket.send(rest) :]

    def receive(self) -> bytes:
        """What comes next, nothing at the end; raises Unreachable and EnoughRead."""
        if not self._unread:
            raise EnoughRead
        with _failing():
            self._socket.settimeout(left_s())
            data = self._socket.recv(self._unread)
        self._unread -= len(data)
        return data

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def connected(addresses: Sequence[Address], port: int) -> Line:
    """A line to the first of the addresses that takes it; raises Unreachable.

    Each gets its share of the time that is left, so that one that is dead leaves some for the next.
    """
    tried = addresses[:MOST_TRIED]
    failure = Unreachable("There is no address.")
    for number, address in enumerate(tried):
        try:
            with _failing():
                return Line(_connect(address, port, left_s() / (len(tried) - number)))
        except Unreachable as error:
            failure = error
    raise failure


def _connect(address: Address, port: int, timeout_s: float) -> socket.socket:
    """A socket at this very address: nothing is looked up here."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect((str(address), port))
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise TooSlow("It took too long.") from error
    except ssl.SSLCertVerificationError as error:
        text = f"The certificate is not accepted: {error.verify_message}."
        raise Unreachable(text) from error
    except ssl.SSLError as error:
        raise Unreachable("The encrypted connection failed.") from error
    except OSError as error:
        raise Unreachable(f"The connection failed: {error.strerror or 'it broke off'}.") from error
