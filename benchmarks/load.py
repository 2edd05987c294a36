"""The load: a few keep-alive connections in a process of its own, each asking all the time."""

import multiprocessing
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from typing import Protocol

CONNECTIONS = 8
_LENGTH = b"content-length:"
_ANSWER_S = 10


class Requests(Protocol):
    """What to send: the n-th request of a run as raw bytes. Must be picklable."""

    def __call__(self, index: int) -> bytes: ...


@dataclass(frozen=True)
class Order:
    """One round of load."""

    port: int
    seconds: float
    first: int
    requests: Requests


@dataclass
class Outcome:
    """What a round of load saw; latencies in seconds."""

    elapsed_s: float = 0.0
    errors: int = 0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return len(self.latencies_s)

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the requests did not exceed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


@contextmanager
def generator() -> Iterator[Callable[[Order], Outcome]]:
    """A load process; the function it gives runs one order there and waits for the outcome."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()

    def run(order: Order) -> Outcome:
        ours.send(order)
        outcome: Outcome = ours.recv()
        return outcome

    try:
        yield run
    finally:
        ours.send(None)
        process.join(10)
        process.kill()


def _serve(orders: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    while (order := orders.recv()) is not None:
        orders.send(run(order))


def run(order: Order) -> Outcome:
    """Load the port for the time, then let every request under way be answered."""
    outcome = Outcome()
    numbers = count(order.first)
    began = time.perf_counter()
    ends = began + order.seconds
    with selectors.DefaultSelector() as selector:
        lines = [Line(order.port, order.requests, selector) for _ in range(CONNECTIONS)]
        for line in lines:
            line.send(next(numbers))
        _until_quiet(selector, outcome, numbers, ends)
        for line in lines:
            line.socket.close()
    outcome.elapsed_s = time.perf_counter() - began
    return outcome


def _until_quiet(
    selector: selectors.BaseSelector, outcome: Outcome, numbers: Iterator[int], ends: float
) -> None:
    while selector.get_map():
        ready = selector.select(_ANSWER_S)
        if not ready:
            outcome.errors += len(selector.get_map())
            return
        for key, _ in ready:
            line: Line = key.data
            if not line.receive(outcome):
                continue
            if time.perf_counter() < ends and not line.closed:
                line.send(next(numbers))
            else:
                selector.unregister(line.socket)


class Line:
    """One connection with at most one request under way."""

    def __init__(self, port: int, requests: Requests, selector: selectors.BaseSelector) -> None:
        self._requests = requests
        self._received = b""
        self._sent_at = 0.0
        self.closed = False
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(self.socket, selectors.EVENT_READ, self)

    def send(self, index: int) -> None:
        request = self._requests(index)
        self._sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self, outcome: Outcome) -> bool:
        """Take what has come; whether the answer is complete, or the line dead."""
        try:
            chunk = self.socket.recv(65_536)
        except OSError:
            chunk = b""
        self._received += chunk
        if not chunk:
            self.closed = True
            outcome.errors += 1
            return True
        if not complete(self._received):
            return False
        outcome.latencies_s.append(time.perf_counter() - self._sent_at)
        if not self._received.startswith(b"HTTP/1.1 2"):
            outcome.errors += 1
        self._received = b""
        return True


def complete(received: bytes) -> bool:
    """Whether a whole answer is there; all our apps send its length."""
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    start = head.lower().index(_LENGTH) + len(_LENGTH)
    return len(body) >= int(head[start:].split(b"\r\n", 1)[0])


@dataclass(frozen=True)
class Rotation:
    """The same few requests over and over."""

    prepared: Sequence[bytes]

    def __call__(self, index: int) -> bytes:
        return self.prepared[index % len(self.prepared)]
