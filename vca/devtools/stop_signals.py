"""Handle Ctrl-C, SIGTERM and a closed terminal only where it is safe, and never lose one."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One request may arrive twice: through the process group, and forwarded by make or the shell.
REPEAT_AFTER_S = 0.5


class StopSignals:
    """Record stop signals for the rest of the process.

    The first one raises KeyboardInterrupt, but only inside `interruptible`. Elsewhere it could come
    between starting something and recording that it was started. `repeated` is set if the user
    asked again and does not want to wait.
    """

    def __init__(self) -> None:
        self.repeated = False
        self._first_signal_s: float | None = None
        self._is_interruptible = False
        for signal_number in SIGNALS:
            # nohup ignores SIGHUP, so keep that. A shell that starts us in the background ignores
            # SIGINT too, but a SIGINT that is sent to this process alone is intended.
            is_ignored = signal.getsignal(signal_number) is signal.SIG_IGN
            if signal_number != signal.SIGHUP or not is_ignored:
                signal.signal(signal_number, self._handle_signal)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Allow KeyboardInterrupt in the block; raise it at once for an earlier signal."""
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
