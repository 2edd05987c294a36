"""Runs `flask worker` four times, and another one whenever one was killed; imports are kept.

`python -m tests.chaos.nursery`: a worker that takes seconds to start would leave no time for a
thousand.
"""

import os
import signal
import sys
from types import FrameType

from tests.chaos.wsgi import app
from vca.servers.worker import worker

WORKERS = 4


class Nursery:
    """Always as many workers, until it is asked to end."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._ending = False

    def run(self) -> int:
        """Until SIGTERM, or until a worker ends that nobody has killed; the exit status."""
        signal.signal(signal.SIGTERM, self._end)
        status = 0
        while self._pids or not self._ending:
            while len(self._pids) < WORKERS and not self._ending:
                self._pids.add(_born())
            pid, how = os.wait()
            self._pids.discard(pid)
            if not os.WIFSIGNALED(how) and not self._ending:
                status = os.waitstatus_to_exitcode(how) or 1
                self._end()
        return status

    def _end(self, signum: int = 0, frame: FrameType | None = None) -> None:
        self._ending = True
        for pid in self._pids:
            os.kill(pid, signal.SIGTERM)


def _born() -> int:
    """The pid of a new worker."""
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with app.app_context():
        sys.exit(worker.main(["--concurrency", "2"], standalone_mode=False))


if __name__ == "__main__":
    sys.exit(Nursery().run())
