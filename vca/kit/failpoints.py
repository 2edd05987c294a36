"""Crash points: named places at which a rehearsal has a process die, as in a power cut.

A process that was started with CRASH_DIR takes the file there that bears the name of the point it
has come to, and kills itself. One file is one death: whoever comes there next lives, so that what
was interrupted can be tried again. Without the setting a point does nothing; production refuses it.
"""

import os
import signal
from pathlib import Path

_folder: Path | None = None


def set_failpoint_folder(folder: Path | None) -> None:
    """Die at the points that are armed in this folder; None: at none."""
    global _folder
    _folder = folder


def kill_if_armed(name: str) -> None:
    """Die here, if a file of this name says so."""
    if _folder is None:
        return
    try:
        (_folder / name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
