"""Where tests that make thousands of files make them."""

import os
from contextlib import suppress
from pathlib import Path

MEMORY_FOLDER = Path("/dev/shm")
_NEEDED_BYTES = 1 << 30


def memory_folder(*, needed_bytes: int = _NEEDED_BYTES) -> Path | None:
    """A folder in memory that programs may be run from, if it has `room` bytes left."""
    with suppress(OSError):
        file_system = os.statvfs(MEMORY_FOLDER)
        if (
            file_system.f_bavail * file_system.f_frsize > needed_bytes
            and not file_system.f_flag & os.ST_NOEXEC
        ):
            return MEMORY_FOLDER
    return None


def fastest_folder() -> Path:
    """The quickest folder for what is removed again."""
    return memory_folder() or Path("/tmp")
