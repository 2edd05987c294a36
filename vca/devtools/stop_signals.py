"""Ctrl-C, SIGTERM and a closed terminal: heeded where that does no harm, never forgotten."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One request may come twice: to the process group, and passed on by make or the shell.
REPEAT_AFTER_S = 0.5


class StopSignals:
    """Notes requests to end, for the rest of the process; raises KeyboardInterrupt for the first.

    Only where that is `allowed`: raised just anywhere it could fall between starting something and
    noting that it was started. `repeated` tells that somebody asked again, and will not wait.
    """

    def __init__(self) -> None:
        self.repeated = False
        self._first_signal_s: float | None = None
        self._is_interruptible = False
        for signal_number in SIGNALS:
            # nohup had us ignore the terminal's end. A shell that started us in the background had
            # us ignore Ctrl-C too, but who sends SIGINT to us alone means it.
            is_ignored = signal.getsignal(signal_number) is signal.SIG_IGN
            if signal_number != signal.SIGHUP or not is_ignored:
                signal.signal(signal_number, self._handle_signal)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Where KeyboardInterrupt may be raised; at once, for a request that came before."""
        self._is_interruptible = True
        try:
            if self._first_signal_s is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_interruptible = False

    def _handle_signal(self, signal_number: int, stack_frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self._first_signal_s is None:
            self._first_signal_s = now_s
        self.repeated = now_s - self._first_signal_s > REPEAT_AFTER_S
        if self._is_interruptible:
            self._is_interruptible = False
            raise KeyboardInterrupt
