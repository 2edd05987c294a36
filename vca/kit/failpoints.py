"""Failpoints: named places in the code where a chaos test kills the process, like a power failure.

A process that was started with CRASH_DIR kills itself at a failpoint if that folder contains a file
with the failpoint's name. It deletes the file first, so each file kills one process once and the
interrupted work can be retried. Without the setting a failpoint does nothing. Production rejects
the setting.
"""

import os
import signal
from pathlib import Path

_folder: Path | None = None


def set_failpoint_folder(folder: Path | None) -> None:
    """Arm the failpoints that have a file in this folder; None disables all failpoints."""
    global _folder
    _folder = folder


def kill_if_armed(name: str) -> None:
    """Kill this process if the failpoint `name` is armed."""
    if _folder is None:
        return
    try:
        (_folder / name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
