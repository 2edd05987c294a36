"""Load at a steady pace, in a process of its own: requests are due by the clock, not by answers."""

import multiprocessing
import selectors
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.load import Line, Outcome, Requests

_ANSWER_S = 10.0


@dataclass(frozen=True)
class Paced:
    """So many requests a second, as long as a connection is free for each."""

    port: int
    seconds: float
    per_second: float
    connections: int
    requests: Requests


@contextmanager
def paced(order: Paced) -> Iterator[None]:
    """Keep the load up until the block ends; what is answered does not matter."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_keep_up, args=(order, theirs), daemon=True)
    process.start()
    try:
        ours.recv()
        yield
    finally:
        ours.send(None)
        process.join(_ANSWER_S)
        process.kill()


def _keep_up(order: Paced, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send(None)
    while not pipe.poll():
        run(order)


def run(order: Paced) -> Outcome:
    """Ask at the pace for the time, then let every request under way be answered."""
    outcome = Outcome()
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        lines = [Line(order.port, order.requests, selector) for _ in range(order.connections)]
        _pace(order, selector, list(lines), outcome, began)
        for line in lines:
            line.socket.close()
    outcome.elapsed_s = time.perf_counter() - began
    return outcome


def _pace(
    order: Paced,
    selector: selectors.BaseSelector,
    idle: list[Line],
    outcome: Outcome,
    began: float,
) -> None:
    sent, all_of_them, last_s = 0, len(idle), began + order.seconds
    while True:
        now = time.perf_counter()
        if now >= last_s and len(idle) == all_of_them:
            return
        due_s = began + sent / order.per_second
        while idle and due_s <= now < last_s:
            idle.pop().send(sent)
            sent += 1
            due_s = began + sent / order.per_second
        wait_s = max(0.0, min(due_s, last_s) - now) if idle and now < last_s else _ANSWER_S
        for key, _ in selector.select(wait_s):
            line: Line = key.data
            if line.receive(outcome):
                idle.append(line)
