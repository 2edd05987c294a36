"""Run four `flask worker` processes by forking, and replace each one that is killed.

Run as `python -m tests.chaos.worker_supervisor`. Imports stay loaded: workers that take seconds to
start would leave no time for a thousand kills.
"""

import os
import signal
import sys
from types import FrameType

from tests.chaos.wsgi import app
from vca.servers.worker import worker

WORKER_COUNT = 4


class WorkerSupervisor:
    """Keeps a constant number of workers running until it gets SIGTERM."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._stopping = False

    def run(self) -> int:
        """Run until SIGTERM, or until a worker exits without a kill; return the exit status."""
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
    """Fork a worker and return its pid."""
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with app.app_context():
        sys.exit(worker.main([], standalone_mode=False))


if __name__ == "__main__":
    sys.exit(WorkerSupervisor().run())
