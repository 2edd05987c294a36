"""A thread pool that passes work to the thread that became idle last.

In the standard library's pool all idle threads wait for one queue. Work wakes two of them, the
second one for nothing, and always those that have been idle the longest, whose data has left the
processor's caches.
"""

import atexit
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any, ParamSpec, TypeAlias, TypeVar

from typing_extensions import override

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Inbox: TypeAlias = "SimpleQueue[_Work | None]"


class ThreadPool(Executor):
    """Starts threads on demand, up to `max_threads`; further work waits for the first of them.

    When the process exits, it waits for the work that was submitted.
    """

    def __init__(self, max_threads: int, *, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._lock = Lock()
        self._threads: list[Thread] = []
        self._idle_inboxes: list[_Inbox] = []
        self._waiting: deque[_Work] = deque()
        self._is_shut_down = False
        atexit.register(self.shutdown)

    @override
    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run a function in a thread; raises RuntimeError after `shutdown`."""
        work = _Work(lambda: fn(*args, **kwargs))
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("the thread pool is shut down")
            if self._idle_inboxes:
                self._idle_inboxes.pop().put(work)
            elif len(self._threads) < self._max_threads:
                self._start_thread(work)
            else:
                self._waiting.append(work)
        return work.future

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no further work; with `wait`, return when all of it is done."""
        with self._lock:
            self._is_shut_down = True
            if cancel_futures:
                for work in self._waiting:
                    work.future.cancel()
            for inbox in self._idle_inboxes:
                inbox.put(None)
            self._idle_inboxes.clear()
        if wait:
            for thread in self._threads:
                if thread is not current_thread():
                    thread.join()

    def _start_thread(self, work: "_Work") -> None:
        inbox: _Inbox = SimpleQueue()
        inbox.put(work)
        # A daemon, so that the interpreter does not join it before it calls `shutdown` at the exit.
        thread = Thread(
            target=self._run_thread,
            args=(inbox,),
            name=f"{self._name}_{len(self._threads)}",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()

    def _run_thread(self, inbox: _Inbox) -> None:
        while (work := inbox.get()) is not None:
            work.run()
            del work  # else its result would live until the next work
            self._become_idle(inbox)

    def _become_idle(self, inbox: _Inbox) -> None:
        with self._lock:
            if self._waiting:
                inbox.put(self._waiting.popleft())
            elif self._is_shut_down:
                inbox.put(None)
            else:
                self._idle_inboxes.append(inbox)


class _Work:
    """A function to run, and the future of its result."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.future: Future[Any] = Future()

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._function()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)
