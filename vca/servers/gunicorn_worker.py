"""gunicorn's threaded worker with a thread pool that costs less CPU time."""

from concurrent.futures import Executor

from gunicorn.workers.gthread import ThreadWorker
from typing_extensions import override

from vca.kit.thread_pool import ThreadPool


class PooledThreadWorker(ThreadWorker):  # type: ignore[misc] # no stubs
    """A `gthread` worker whose idle threads do not all wait for one queue."""

    @override
    def get_thread_pool(self) -> Executor:
        """Return the pool of the threads that handle requests."""
        return ThreadPool(self.cfg.threads, name="request")
