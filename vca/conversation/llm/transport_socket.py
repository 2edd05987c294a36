"""A socket whose waits all end with one deadline."""

import select
import socket
from contextlib import suppress
from time import monotonic

from typing_extensions import override

_READ_BYTES = 64 * 1024
_MAX_ANSWER_END_BYTES = 24


class Deadline(float):
    """The seconds until a fixed moment, usable as a timeout.

    `gather_s` is how long to gather data after the first of it has arrived, before it is passed on;
    a last wait of the same length can follow. Data that looks like the end of a streamed answer is
    passed on at once.
    """

    ends_at: float
    gather_s: float = 0.0

    @override
    def __new__(cls, seconds: float) -> "Deadline":
        deadline = super().__new__(cls, seconds)
        deadline.ends_at = monotonic() + seconds
        return deadline

    def shorten(self, seconds: float) -> None:
        """Let the deadline end within `seconds` from now."""
        self.ends_at = min(self.ends_at, monotonic() + seconds)

    def remaining_s(self) -> float:
        """Return the remaining seconds; raises TimeoutError if there are none."""
        left_s = self.ends_at - monotonic()
        if left_s <= 0:
            # A timeout of 0 must not reach a socket: it would become non-blocking.
            raise TimeoutError("the deadline has passed")
        return left_s


class DeadlineSocket:
    """Sends and receives until a deadline, which can be another one for each exchange."""

    def __init__(self, opened_socket: socket.socket) -> None:
        self.deadline = Deadline(0)
        self._socket = opened_socket
        self._failure: OSError | None = None

    def send(self, data: bytes) -> None:
        """Send all of the data. Raises OSError."""
        self._socket.settimeout(self.deadline.remaining_s())
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """Return what has arrived, after waiting for it; empty if the connection has ended.

        Raises OSError, and TimeoutError at the deadline. Data that arrived before an error is
        returned first.
        """
        if self._failure is not None:
            raise self._failure
        self._socket.settimeout(self.deadline.remaining_s())
        data = self._socket.recv(_READ_BYTES)
        return self._gather(data) if data and self.deadline.gather_s else data

    def _gather(self, data: bytes) -> bytes:
        """Receive more until the time is over, there is much data or the answer has ended.

        A model sends a token at a time. Parsing several of them one after the other takes a
        fraction of the CPU time, because the code and its data are still in the processor's caches.
        """
        now = monotonic()
        ends_at = min(now + self.deadline.gather_s, self.deadline.ends_at)
        if ends_at <= now:
            return data
        # Set once, although the last wait can end late then: setting it costs a system call.
        self._socket.settimeout(ends_at - now)
        parts, size, last_bytes = [data], len(data), data
        # This runs for each token of an answer.
        while size < _READ_BYTES and not _contains_answer_end(last_bytes) and monotonic() < ends_at:
            try:
                data = self._socket.recv(_READ_BYTES)
            except TimeoutError:
                break
            except OSError as error:
                self._failure = error  # after the data that arrived before it
                break
            if not data:
                break
            parts.append(data)
            size += len(data)
            last_bytes = last_bytes[-_MAX_ANSWER_END_BYTES:] + data
        return b"".join(parts)

    def is_readable(self) -> bool:
        """Return whether the server has sent data, or closed the connection."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def shut_down(self) -> None:
        """End a wait of another thread for data; closing the socket would not wake it."""
        # Not SSLSocket.shutdown, which would discard the TLS state while the reader uses it.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


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
