"""Run functions concurrently in threads that start at the same moment."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

Result = TypeVar("Result")


def run_concurrently(functions: Sequence[Callable[[], Result]]) -> list[Result]:
    """Call all functions at the same moment, each in a thread; return the results in order."""
    barrier = Barrier(len(functions))

    def run_after_barrier(function: Callable[[], Result]) -> Result:
        barrier.wait(timeout=10)
        return function()

    with ThreadPoolExecutor(len(functions)) as threads:
        return list(threads.map(run_after_barrier, functions))
