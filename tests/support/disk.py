"""Where tests that make thousands of files make them."""

import os
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")
_ROOM = 1 << 30


def in_memory(*, room: int = _ROOM) -> Path | None:
    """A folder in memory that programs may be run from, if it has `room` bytes left."""
    with suppress(OSError):
        memory = os.statvfs(MEMORY)
        if memory.f_bavail * memory.f_frsize > room and not memory.f_flag & os.ST_NOEXEC:
            return MEMORY
    return None


def quick() -> Path:
    """The quickest folder for what is removed again."""
    return in_memory() or Path("/tmp")
