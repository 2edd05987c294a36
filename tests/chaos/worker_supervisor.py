"""Runs `flask worker` four times, and another one whenever one was killed; imports are kept.

`python -m tests.chaos.worker_supervisor`: a worker that takes seconds to start would leave no time
for a thousand.
"""

import os
import signal
import sys
from types import FrameType

from tests.chaos.wsgi import app
from vca.servers.worker import worker

WORKER_COUNT = 4


class WorkerSupervisor:
    """Always as many workers, until it is asked to end."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._stopping = False

    def run(self) -> int:
        """Until SIGTERM, or until a worker ends that nobody has killed; the exit status."""
        signal.signal(signal.SIGTERM, self._stop)
        status = 0
        while self._pids or not self._stopping:
            while len(self._pids) < WORKER_COUNT and not self._stopping:
                self._pids.add(_fork_worker())
            pid, wait_status = os.wait()
            self._pids.discard(pid)
            if not os.WIFSIGNALED(wait_status) and not self._stopping:
                status = os.waitstatus_to_exitcode(wait_status) or 1
                self._stop()
        return status

    def _stop(self, signum: int = 0, frame: FrameType | None = None) -> None:
        self._stopping = True
        for pid in self._pids:
            os.kill(pid, signal.SIGTERM)


def _fork_worker() -> int:
    """The pid of a new worker."""
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with app.app_context():
        sys.exit(worker.main(["--concurrency", "2"], standalone_mode=False))


if __name__ == "__main__":
    sys.exit(WorkerSupervisor().run())
