"""A receiver of webhooks on loopback, which records connections and may misbehave."""

import random
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Event, Thread
from typing import TypeAlias

TIMEOUT_S = 20.0
Behaviour: TypeAlias = Callable[[socket.socket, Event], None]


def reply_with(text: bytes) -> Behaviour:
    """Return a behaviour that sends this text and closes the connection."""

    def behave(connection: socket.socket, stop: Event) -> None:
        connection.sendall(text)

    return behave


OK = reply_with(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


def keep_open(receiver: "HttpReceiver", *responses: bytes) -> Behaviour:
    """Return a behaviour that answers with these responses in turn, on one connection.

    It repeats the last one. An empty response closes the connection after the request was read.
    """

    def behave(connection: socket.socket, stop: Event) -> None:
        remaining = list(responses)
        while response := remaining.pop(0) if len(remaining) > 1 else remaining[0]:
            connection.sendall(response)
            if not (request := _read_request(connection)):
                return
            receiver.requests.append(request)

    return behave


class HttpReceiver:
    """`client_ports` are the ports of the clients; `requests` are the raw requests."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.host, self.port = listener.getsockname()[:2]
        self.behaviour: Behaviour = OK
        self.reads_requests = True
        self.client_ports: list[int] = []
        self.requests: list[bytes] = []
        self.sni_names: list[str | None] = []
        self._listener = listener
        self._tls = tls
        self.stopped = Event()
        self._changed = Condition()
        self._threads = [Thread(target=self._accept)]
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.sni_names.append(name)

    def is_unvisited(self) -> bool:
        """Return whether nobody has connected; a connection of the test itself marks the end."""
        with socket.create_connection((self.host, self.port)) as probe:
            marker = probe.getsockname()[1]
            with self._changed:
                assert self._changed.wait_for(lambda: marker in self.client_ports, TIMEOUT_S)
                return self.client_ports == [marker]

    def start(self) -> None:
        self._threads[0].start()

    def stop(self) -> None:
        self.stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT_S)
        self._listener.close()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self.client_ports.append(peer[1])
                self._changed.notify_all()
            self._threads.append(Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT_S)
        with connection, suppress(OSError):  # clients may hang up: tests do it on purpose
            stream = (
                self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            )
            with stream:
                if self.reads_requests:
                    self.requests.append(_read_request(stream))
                self.behaviour(stream, self.stopped)


def _read_request(connection: socket.socket) -> bytes:
    data_read = b""
    while b"\r\n\r\n" not in data_read:
        if not (data := connection.recv(65536)):
            return data_read
        data_read += data
    head, _, body = data_read.partition(b"\r\n\r\n")
    lengths = (
        int(value)
        for name, _, value in (header.partition(b":") for header in head.split(b"\r\n"))
        if name.lower() == b"content-length"
    )
    length = next(lengths, 0)
    while len(body) < length and (data := connection.recv(65536)):
        body += data
    return head + b"\r\n\r\n" + body


@contextmanager
def http_receiver(
    host: str = "127.0.0.1", *, port: int | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[HttpReceiver]:
    """Run a receiver at this address, on the given port or on a free one."""
    server = HttpReceiver(_listen(host, port), tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in [port] if port else random.sample(range(20_000, 30_000), 100):
        with suppress(OSError):
            return socket.create_server((host, candidate), family=family)
    raise AssertionError("no free port")
