"""A connection to one address, each wait within the deadline, and read to a limit only."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vca.kit.addresses import Address
from vca.kit.http.deadline import remaining_or_raise_s
from vca.kit.http.errors import RequestTimeout, Unreachable

MAX_BYTES = 64 * 1024
# A name may have thousands of addresses, and a request must not become a scan of them.
MAX_ADDRESSES_TRIED = 4


class ResponseTooLarge(Exception):
    """MAX_BYTES were read, and there are more."""


class Connection:
    """An open connection; closed by whoever opened it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._remaining_bytes = MAX_BYTES

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on under TLS with whoever has a certificate for the host; raises Unreachable."""
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
        """What comes next, nothing at the end; raises Unreachable and EnoughRead."""
        if not self._remaining_bytes:
            raise ResponseTooLarge
        with _translate_errors():
            self._socket.settimeout(remaining_or_raise_s())
            data = self._socket.recv(self._remaining_bytes)
        self._remaining_bytes -= len(data)
        return data

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def connect(addresses: Sequence[Address], port: int) -> Connection:
    """A line to the first of the addresses that takes it; raises Unreachable.

    Each gets its share of the time that is left, so that one that is dead leaves some for the next.
    """
    candidates = addresses[:MAX_ADDRESSES_TRIED]
    failure = Unreachable("There is no address.")
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
    """A socket at this very address: nothing is looked up here."""
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
        raise RequestTimeout("It took too long.") from error
    except ssl.SSLCertVerificationError as error:
        message = f"The certificate is not accepted: {error.verify_message}."
        raise Unreachable(message) from error
    except ssl.SSLError as error:
        raise Unreachable("The encrypted connection failed.") from error
    except OSError as error:
        raise Unreachable(f"The connection failed: {error.strerror or 'it broke off'}.") from error
