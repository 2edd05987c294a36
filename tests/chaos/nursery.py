"""Runs `flask worker`, and another one whenever it was killed; all that is imported is kept.

`python -m tests.chaos.nursery`: a worker of a second's start would leave no time for a thousand.
"""

import os
import signal
import sys
from types import FrameType

from tests.chaos.wsgi import app
from vca.serve.worker import worker


class Nursery:
    """One worker at a time."""

    def __init__(self) -> None:
        self._pid = 0
        self._ending = False

    def run(self) -> int:
        """Until SIGTERM, or until a worker ends that nobody has killed; its exit status."""
        signal.signal(signal.SIGTERM, self._end)
        while not self._ending:
            self._pid = os.fork()
            if self._pid == 0:
                _work()
            _, status = os.waitpid(self._pid, 0)
            if not os.WIFSIGNALED(status):
                return os.waitstatus_to_exitcode(status)
        return 0

    def _end(self, signum: int, frame: FrameType | None) -> None:
        self._ending = True
        os.kill(self._pid, signal.SIGTERM)


def _work() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with app.app_context():
        worker.main(["--concurrency", "4"])


if __name__ == "__main__":
    sys.exit(Nursery().run())
