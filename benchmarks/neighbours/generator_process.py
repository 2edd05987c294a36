"""Run a load generator in a process of its own, on the machine's last core."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30

# Prepares the load, calls the function when it is ready, and returns a result once it is to stop.
Generator = Callable[[Any, Callable[[], None], asyncio.Event], Coroutine[Any, Any, Any]]


class GeneratorFailed(RuntimeError):
    """A load generator ended without a result."""


class RunningGenerator:
    """A load generator that has begun."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._result: Any = None
        self._stopped = False

    def stop(self) -> Any:
        """Stop the generator; return its result. Raises GeneratorFailed."""
        if not self._stopped:
            self._pipe.send(None)
            self._result = _receive(self._pipe, _STOP_TIMEOUT_S)
            self._stopped = True
        return self._result


@contextmanager
def run_generator(generator: Generator, plan: Any) -> Iterator[RunningGenerator]:
    """Start a generator, and enter the block when it is ready. Raises GeneratorFailed."""
    context = multiprocessing.get_context("spawn")
    parent_pipe, child_pipe = context.Pipe()
    process = context.Process(target=_run_process, args=(generator, plan, child_pipe), daemon=True)
    process.start()
    child_pipe.close()
    try:
        _receive(parent_pipe, _START_TIMEOUT_S)
        yield RunningGenerator(parent_pipe)
    finally:
        process.kill()
        process.join()


def run_to_end(generator: Generator, plan: Any, timeout_s: float) -> Any:
    """Run a generator that ends by itself, and return its result. Raises GeneratorFailed."""
    with run_generator(generator, plan) as running:
        return _receive(running._pipe, timeout_s)


def _receive(pipe: Connection, timeout_s: float) -> Any:
    try:
        if pipe.poll(timeout_s):
            return pipe.recv()
    except EOFError:
        pass
    raise GeneratorFailed("a load generator ended without a result")


def _run_process(generator: Generator, plan: Any, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    asyncio.run(_run(generator, plan, pipe))


async def _run(generator: Generator, plan: Any, pipe: Connection) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
    result = await generator(plan, lambda: pipe.send(None), stop)
    pipe.send(result)
