"""A receiver of webhooks on loopback: knows whoever connected, and answers as badly as asked."""

import random
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Event, Thread
from typing import TypeAlias

PATIENCE_S = 20.0
Behaviour: TypeAlias = Callable[[socket.socket, Event], None]


def answers(text: bytes) -> Behaviour:
    """Send this for an answer, and hang up."""

    def behave(line: socket.socket, stop: Event) -> None:
        line.sendall(text)

    return behave


OK = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Receiver:
    """`visitors` are the ports of those who connected, `asked` their requests, in bytes."""

    def __init__(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.host, self.port = listening.getsockname()[:2]
        self.behave: Behaviour = OK
        self.reads = True
        self.visitors: list[int] = []
        self.asked: list[bytes] = []
        self.names: list[str | None] = []
        self._listening = listening
        self._tls = tls
        self._stop = Event()
        self._changed = Condition()
        self._threads = [Thread(target=self._accept)]
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.names.append(name)

    def nobody_came(self) -> bool:
        """Whether no one connected so far: a visitor of our own is the first."""
        with socket.create_connection((self.host, self.port)) as ours:
            marker = ours.getsockname()[1]
            with self._changed:
                assert self._changed.wait_for(lambda: marker in self.visitors, PATIENCE_S)
                return self.visitors == [marker]

    def start(self) -> None:
        self._threads[0].start()

    def stop(self) -> None:
        self._stop.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listening.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                line, peer = self._listening.accept()
            except OSError:
                return
            with self._changed:
                self.visitors.append(peer[1])
                self._changed.notify_all()
            self._threads.append(Thread(target=self._serve, args=(line,)))
            self._threads[-1].start()

    def _serve(self, line: socket.socket) -> None:
        line.settimeout(PATIENCE_S)
        with line, suppress(OSError):  # they hang up: that is what the tests are about
            spoken = self._tls.wrap_socket(line, server_side=True) if self._tls else line
            with spoken:
                if self.reads:
                    self.asked.append(_request(spoken))
                self.behave(spoken, self._stop)


def _request(line: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        if not (data := line.recv(65536)):
            return read
        read += data
    head, _, body = read.partition(b"\r\n\r\n")
    length = next(
        int(value)
        for name, _, value in (header.partition(b":") for header in head.split(b"\r\n"))
        if name.lower() == b"content-length"
    )
    while len(body) < length and (data := line.recv(65536)):
        body += data
    return head + b"\r\n\r\n" + body


@contextmanager
def receiver(
    host: str = "127.0.0.1", *, port: int | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """One that listens at the address, at a free port or the one given."""
    found = Receiver(_listening(host, port), tls)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def _listening(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in [port] if port else random.sample(range(20_000, 30_000), 100):
        with suppress(OSError):
            return socket.create_server((host, candidate), family=family)
    raise AssertionError("no free port")
