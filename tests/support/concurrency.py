"""Many at once, for real: threads that start at the same moment."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

Result = TypeVar("Result")


def run_concurrently(functions: Sequence[Callable[[], Result]]) -> list[Result]:
    """Do all of them at the same moment, a thread each; their results in the same order."""
    barrier = Barrier(len(functions))

    def run_after_barrier(function: Callable[[], Result]) -> Result:
        barrier.wait(timeout=10)
        return function()

    with ThreadPoolExecutor(len(functions)) as threads:
        return list(threads.map(run_after_barrier, functions))
