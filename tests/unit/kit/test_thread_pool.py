"""The thread pool: which thread gets the work, how much waits, and how it ends."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from threading import Event, current_thread, get_ident

import pytest

from tests.integration.tenancy.session_state import wait_for
from vca.kit.thread_pool import ThreadPool

_TIMEOUT_S = 10
_EXIT_DURING_WORK = """
import time
from vca.kit.thread_pool import ThreadPool

def work():
    time.sleep(0.3)
    print("done", flush=True)

ThreadPool(1, name="test").submit(work)
"""


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(3, name="test")
    yield pool
    pool.shutdown()


def _occupy(pool: ThreadPool, count: int, release: Event) -> list[Future[int]]:
    """Occupy that many threads until `release` is set; return the futures of their ids."""
    started = [Event() for _ in range(count)]

    def work(event: Event) -> int:
        event.set()
        assert release.wait(_TIMEOUT_S)
        return get_ident()

    futures = [pool.submit(work, event) for event in started]
    assert all(event.wait(_TIMEOUT_S) for event in started)
    return futures


def _await_idle(pool: ThreadPool, count: int) -> None:
    """Wait until that many threads wait for work, which is a moment after their last result."""
    assert wait_for(lambda: len(pool._idle_inboxes) == count)


def test_the_result_of_a_function_is_returned(pool: ThreadPool) -> None:
    assert pool.submit(divmod, 7, 2).result(_TIMEOUT_S) == (3, 1)
    assert pool.submit(int, "ff", base=16).result(_TIMEOUT_S) == 255


def test_an_error_is_raised_and_the_thread_works_on(pool: ThreadPool) -> None:
    future = pool.submit(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        future.result(_TIMEOUT_S)
    assert pool.submit(int, "7").result(_TIMEOUT_S) == 7


def test_threads_have_the_name_of_the_pool(pool: ThreadPool) -> None:
    assert pool.submit(lambda: current_thread().name).result(_TIMEOUT_S) == "test_0"


def test_work_is_done_by_the_thread_that_became_idle_last(pool: ThreadPool) -> None:
    releases = [Event() for _ in range(3)]
    futures = [_occupy(pool, 1, release)[0] for release in releases]
    for count, release in enumerate(releases, start=1):
        release.set()
        _await_idle(pool, count)
    last_thread = futures[-1].result()

    assert len({future.result() for future in futures}) == 3
    for _ in range(5):
        assert pool.submit(get_ident).result(_TIMEOUT_S) == last_thread
        _await_idle(pool, 3)


def test_work_waits_for_a_thread_if_all_are_busy_and_is_done_in_order(pool: ThreadPool) -> None:
    release = Event()
    _occupy(pool, 3, release)
    done: list[int] = []
    futures = [pool.submit(done.append, number) for number in range(20)]
    assert not any(future.done() for future in futures)

    release.set()
    wait(futures, _TIMEOUT_S)

    assert sorted(done) == list(range(20))


def test_cancelled_work_is_not_done(pool: ThreadPool) -> None:
    release, done = Event(), list[int]()
    _occupy(pool, 3, release)
    future = pool.submit(done.append, 1)

    assert future.cancel()
    release.set()
    pool.shutdown()

    assert done == []


def test_a_shutdown_waits_for_all_work_and_accepts_no_more(pool: ThreadPool) -> None:
    release, done = Event(), list[int]()
    running = _occupy(pool, 3, release)
    waiting = [pool.submit(done.append, number) for number in range(3)]
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(int)
    release.set()
    pool.shutdown()

    assert sorted(done) == [0, 1, 2]
    assert all(future.done() for future in running)
    assert all(future.done() for future in waiting)


def test_a_shutdown_can_cancel_the_work_that_waits(pool: ThreadPool) -> None:
    release = Event()
    _occupy(pool, 3, release)
    future = pool.submit(int)
    pool.shutdown(wait=False, cancel_futures=True)
    release.set()

    with pytest.raises(CancelledError):
        future.result(_TIMEOUT_S)


def test_a_process_that_exits_waits_for_the_work() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", _EXIT_DURING_WORK],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert completed.stdout == "done\n"
