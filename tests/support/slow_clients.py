"""Clients that send their requests slowly, or do not read the responses."""

import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread

EVERY_S = 0.1


def encode_head(method: str, path: str, headers: Mapping[str, str] = {}) -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: vca"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def encode_json_head(path: str, key: str | None, length: int) -> bytes:
    """Return the head of a POST of JSON."""
    headers = {"Content-Type": "application/json", "Content-Length": str(length)}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return encode_head("POST", path, headers)


class RawClient:
    """A connection on which a test decides about each byte."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(20)
        self._unread = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_response(self) -> tuple[int, str]:
        """Return the status and the rest of the next response."""
        while b"\r\n\r\n" not in self._unread:
            self._receive()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        lengths = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        length = lengths[0] if lengths else 0
        while len(self._unread) < length:
            self._receive()
        body, self._unread = self._unread[:length], self._unread[length:]
        return int(head.split(b" ", 2)[1]), (head + b"\r\n\r\n" + body).decode()

    def has_data(self) -> bool:
        """Return whether data of a response has arrived that was not read."""
        return bool(self._unread or select.select([self.socket], [], [], 0)[0])

    def is_closed_by_server(self) -> bool:
        """Wait for the end of the connection; return whether it came without more data."""
        with suppress(ConnectionError):
            return self.socket.recv(1) == b""
        return True

    def _receive(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError(f"the connection was closed after {self._unread!r}")
        self._unread += data


@contextmanager
def raw_clients(port: int, count: int, **options: int) -> Iterator[list[RawClient]]:
    """Open connections, and close them with the block."""
    with ExitStack() as stack:
        clients = [RawClient(port, **options) for _ in range(count)]
        for client in clients:
            stack.enter_context(client.socket)
        yield clients


@contextmanager
def dripping(clients: Sequence[RawClient], first: bytes, drop: bytes = b"a") -> Iterator[None]:
    """Send `first` on every connection, and then one drop after the other until the block ends."""
    for client in clients:
        client.send(first)
    ended = Event()

    def drip() -> None:
        while not ended.wait(EVERY_S):
            for client in clients:
                with suppress(OSError):
                    client.socket.send(drop)

    thread = Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
