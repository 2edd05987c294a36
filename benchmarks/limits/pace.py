"""Load at a steady pace in a separate process: requests are due by the clock, not by responses."""

import multiprocessing
import selectors
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.load import HttpConnection, LoadResult, Requests

_ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class PacedPlan:
    """The number of requests per second, as long as a connection is free for each."""

    port: int
    seconds: float
    per_second: float
    connections: int
    requests: Requests


@contextmanager
def background_load(plan: PacedPlan) -> Iterator[None]:
    """Keep up the load until the block ends; the responses are ignored."""
    context = multiprocessing.get_context("spawn")
    parent_pipe, child_pipe = context.Pipe()
    process = context.Process(target=_run_until_stopped, args=(plan, child_pipe), daemon=True)
    process.start()
    try:
        parent_pipe.recv()
        yield
    finally:
        parent_pipe.send(None)
        process.join(_ANSWER_TIMEOUT_S)
        process.kill()


def _run_until_stopped(plan: PacedPlan, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send(None)
    while not pipe.poll():
        run_paced(plan)


def run_paced(plan: PacedPlan) -> LoadResult:
    """Send requests at the pace for the time, then wait for the responses that are outstanding."""
    result = LoadResult()
    started_at = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        connections = [
            HttpConnection(plan.port, plan.requests, selector) for _ in range(plan.connections)
        ]
        _send_at_pace(plan, selector, list(connections), result, started_at)
        for connection in connections:
            connection.socket.close()
    result.elapsed_s = time.perf_counter() - started_at
    return result


def _send_at_pace(
    plan: PacedPlan,
    selector: selectors.BaseSelector,
    idle: list[HttpConnection],
    result: LoadResult,
    started_at: float,
) -> None:
    sent_count, connection_count, ends_at = 0, len(idle), started_at + plan.seconds
    while True:
        now = time.perf_counter()
        if now >= ends_at and len(idle) == connection_count:
            return
        due_at = started_at + sent_count / plan.per_second
        while idle and due_at <= now < ends_at:
            idle.pop().send_request(sent_count)
            sent_count += 1
            due_at = started_at + sent_count / plan.per_second
        wait_s = (
            max(0.0, min(due_at, ends_at) - now) if idle and now < ends_at else _ANSWER_TIMEOUT_S
        )
        for key, _ in selector.select(wait_s):
            connection: HttpConnection = key.data
            if connection.receive_response(result):
                idle.append(connection)
