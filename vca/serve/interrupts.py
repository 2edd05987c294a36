"""Ctrl-C, SIGTERM and a closed terminal: heeded where that does no harm, never forgotten."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One request may come twice: to the process group, and passed on by make or the shell.
ECHO_S = 0.5


class Interrupts:
    """Notes requests to end, for the rest of the process; raises KeyboardInterrupt for the first.

    Only where that is `allowed`: raised just anywhere it could fall between starting something and
    noting that it was started. `repeated` tells that somebody asked again, and will not wait.
    """

    def __init__(self) -> None:
        self.repeated = False
        self._first_at_s: float | None = None
        self._allowed = False
        for number in SIGNALS:
            # nohup had us ignore the terminal's end. A shell that started us in the background had
            # us ignore Ctrl-C too, but who sends SIGINT to us alone means it.
            ignored = signal.getsignal(number) is signal.SIG_IGN
            if number != signal.SIGHUP or not ignored:
                signal.signal(number, self._note)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Where KeyboardInterrupt may be raised; at once, for a request that came before."""
        self._allowed = True
        try:
            if self._first_at_s is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self._first_at_s is None:
            self._first_at_s = now_s
        self.repeated = now_s - self._first_at_s > ECHO_S
        if self._allowed:
            self._allowed = False
            raise KeyboardInterrupt
