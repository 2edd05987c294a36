"""The load generator: a few keep-alive connections in a separate process, each always busy."""

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
_CONTENT_LENGTH = b"content-length:"
_ANSWER_TIMEOUT_S = 10


class Requests(Protocol):
    """The n-th request of a run as raw bytes. Must be picklable."""

    def __call__(self, index: int) -> bytes:
        """Return the n-th request."""


@dataclass(frozen=True)
class LoadPlan:
    """One round of load."""

    port: int
    seconds: float
    first_index: int
    requests: Requests


@dataclass
class LoadResult:
    """The result of a round of load; latencies in seconds."""

    elapsed_s: float = 0.0
    errors: int = 0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many requests were answered."""
        return len(self.latencies_s)

    def percentile_ms(self, share: float) -> float:
        """Return the latency that this share of the requests did not exceed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


@contextmanager
def load_process() -> Iterator[Callable[[LoadPlan], LoadResult]]:
    """Start a load process; yield a function that runs one plan in it and returns the result."""
    context = multiprocessing.get_context("spawn")
    parent_pipe, child_pipe = context.Pipe()
    process = context.Process(target=_run_plans, args=(child_pipe,), daemon=True)
    process.start()

    def run_in_process(plan: LoadPlan) -> LoadResult:
        parent_pipe.send(plan)
        result: LoadResult = parent_pipe.recv()
        return result

    try:
        yield run_in_process
    finally:
        parent_pipe.send(None)
        process.join(10)
        process.kill()


def _run_plans(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    while (plan := pipe.recv()) is not None:
        pipe.send(run_load(plan))


def run_load(plan: LoadPlan) -> LoadResult:
    """Load the port for the time, then wait for the responses that are outstanding."""
    result = LoadResult()
    indices = count(plan.first_index)
    started_at = time.perf_counter()
    ends_at = started_at + plan.seconds
    with selectors.DefaultSelector() as selector:
        connections = [
            HttpConnection(plan.port, plan.requests, selector) for _ in range(CONNECTIONS)
        ]
        for connection in connections:
            connection.send_request(next(indices))
        _send_until_end(selector, result, indices, ends_at)
        for connection in connections:
            connection.socket.close()
    result.elapsed_s = time.perf_counter() - started_at
    return result


def _send_until_end(
    selector: selectors.BaseSelector, result: LoadResult, indices: Iterator[int], ends_at: float
) -> None:
    while selector.get_map():
        ready = selector.select(_ANSWER_TIMEOUT_S)
        if not ready:
            result.errors += len(selector.get_map())
            return
        for key, _ in ready:
            connection: HttpConnection = key.data
            if not connection.receive_response(result):
                continue
            if time.perf_counter() < ends_at and not connection.closed:
                connection.send_request(next(indices))
            else:
                selector.unregister(connection.socket)


class HttpConnection:
    """A connection with at most one outstanding request."""

    def __init__(self, port: int, requests: Requests, selector: selectors.BaseSelector) -> None:
        self._requests = requests
        self._received = b""
        self._sent_at = 0.0
        self.closed = False
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(self.socket, selectors.EVENT_READ, self)

    def send_request(self, index: int) -> None:
        """Send the n-th request."""
        request = self._requests(index)
        self._sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive_response(self, result: LoadResult) -> bool:
        """Read available bytes; return whether the response is complete or the connection gone."""
        try:
            chunk = self.socket.recv(65_536)
        except OSError:
            chunk = b""
        self._received += chunk
        if not chunk:
            self.closed = True
            result.errors += 1
            return True
        if not is_complete(self._received):
            return False
        result.latencies_s.append(time.perf_counter() - self._sent_at)
        if not self._received.startswith(b"HTTP/1.1 2"):
            result.errors += 1
        self._received = b""
        return True


def is_complete(received: bytes) -> bool:
    """Return whether the response is complete; all our apps send its length."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    start = head.lower().index(_CONTENT_LENGTH) + len(_CONTENT_LENGTH)
    return len(body) >= int(head[start:].split(b"\r\n", 1)[0])


@dataclass(frozen=True)
class RequestRotation:
    """The same prepared requests in rotation."""

    prepared: Sequence[bytes]

    def __call__(self, index: int) -> bytes:
        """Return the prepared requests in turn."""
        return self.prepared[index % len(self.prepared)]
