"""A socket whose waits all end with one deadline, as `http.client` uses it."""

import io
import socket
from contextlib import suppress
from time import monotonic
from typing import Any

from typing_extensions import override

READ_BYTES = 64 * 1024
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
    """The part of a socket that `http.client` uses, with a deadline for every wait."""

    def __init__(self, opened_socket: socket.socket) -> None:
        self.socket = opened_socket
        self.deadline = Deadline(0)
        self.file: io.BufferedReader
        """The file from which the current response is read, once there is one."""

    def sendall(self, data: bytes) -> None:
        """Send all of the data."""
        self.socket.settimeout(self.deadline.remaining_s())
        self.socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a file that reads from the socket."""
        self.file = io.BufferedReader(_SocketReader(self), READ_BYTES)
        return self.file

    def shut_down(self) -> None:
        """End a read that another thread is blocked in; closing the socket would not wake it."""
        # Not SSLSocket.shutdown, which would discard the TLS state while the reader uses it.
        with suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Do nothing: `http.client` calls it before the body of a last response is read."""


class _SocketReader(io.RawIOBase):
    def __init__(self, deadline_socket: DeadlineSocket) -> None:
        self._socket = deadline_socket.socket
        self._deadline = deadline_socket.deadline
        self._failure: OSError | None = None

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        if self._failure is not None:
            raise self._failure
        self._socket.settimeout(self._deadline.remaining_s())
        size = self._socket.recv_into(buffer)
        if size and self._deadline.gather_s:
            return self._gather(memoryview(buffer), size)
        return size

    def _gather(self, buffer: memoryview, size: int) -> int:
        """Read until the time is over, the buffer is full or the answer has ended.

        The first `size` bytes are in the buffer already; return the size of all. A model sends a
        token at a time. Parsing several of them one after the other takes a fraction of the CPU
        time, because the code and its data are still in the processor's caches.
        """
        now = monotonic()
        ends_at = min(now + self._deadline.gather_s, self._deadline.ends_at)
        if ends_at <= now:
            return size
        # Set once, although the last wait can end late then: setting it costs a system call.
        self._socket.settimeout(ends_at - now)
        searched = 0
        # This runs for each token of an answer.
        while size < len(buffer) and not _contains_answer_end(bytes(buffer[searched:size])):
            if monotonic() >= ends_at:
                break
            searched = max(0, size - _MAX_ANSWER_END_BYTES)
            try:
                received = self._socket.recv_into(buffer[size:])
            except TimeoutError:
                break
            except OSError as error:
                self._failure = error  # after the data that arrived before it
                break
            if received == 0:
                break
            size += received
        return size


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
