"""Advisory file locks: one launcher at a time, and the sign that a server is alive."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.kit.deadline import Deadline


class LockTimeout(EmbeddedError):
    """Another process held a lock until the deadline."""


@contextmanager
def hold_lock(path: Path, deadline: Deadline) -> Iterator[int]:
    """Hold the file's exclusive lock and yield its descriptor; raises LockTimeout.

    The lock belongs to the open file. A child that inherits the descriptor holds the lock until the
    child ends, even if this process ends first.
    """
    fd = _open_lock_file(path)
    try:
        if not deadline.wait_until(lambda: _try_lock(fd)):
            raise LockTimeout(f"{path} is locked by another process that starts or stops a server")
        yield fd
    finally:
        os.close(fd)


def is_locked(path: Path) -> bool:
    """Return whether any process holds the file's lock now; a missing file is not locked."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _open_lock_file(path: Path) -> int:
    # Links are not followed: root opens a file in a folder that an unprivileged account owns.
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)


def _try_lock(fd: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
