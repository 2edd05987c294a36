"""Advisory locks on files: one launcher at a time, and the mark that a server still lives."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vca.devtools.embedded_postgres.deadline import Deadline
from vca.devtools.embedded_postgres.errors import EmbeddedError


class LockTimeout(EmbeddedError):
    """Another process held a lock for the whole time that we were given."""


@contextmanager
def hold_lock(path: Path, deadline: Deadline) -> Iterator[int]:
    """Hold the file's exclusive lock, yielding its descriptor; raises LockTimeout.

    The lock belongs to the open file, so a child that inherits the descriptor keeps it held
    until the child ends, whatever becomes of us.
    """
    fd = _open_lock_file(path)
    try:
        if not deadline.wait_until(lambda: _try_lock(fd)):
            raise LockTimeout(f"{path} is locked by another process that starts or stops a server")
        yield fd
    finally:
        os.close(fd)


def is_locked(path: Path) -> bool:
    """Whether any process holds the file's lock at this moment; a missing file is not held."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _open_lock_file(path: Path) -> int:
    # No link is followed: as root we open a file in a folder that an unprivileged account owns.
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)


def _try_lock(fd: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
