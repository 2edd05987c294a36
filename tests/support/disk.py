"""Choose a folder for tests that create thousands of files."""

import os
from contextlib import suppress
from pathlib import Path

MEMORY_FOLDER = Path("/dev/shm")
_NEEDED_BYTES = 1 << 30


def memory_folder(*, needed_bytes: int = _NEEDED_BYTES) -> Path | None:
    """Return a folder in memory if it has `needed_bytes` left and allows executing programs."""
    with suppress(OSError):
        file_system = os.statvfs(MEMORY_FOLDER)
        if (
            file_system.f_bavail * file_system.f_frsize > needed_bytes
            and not file_system.f_flag & os.ST_NOEXEC
        ):
            return MEMORY_FOLDER
    return None


def fastest_folder() -> Path:
    """Return the fastest folder for temporary files."""
    return memory_folder() or Path("/tmp")
