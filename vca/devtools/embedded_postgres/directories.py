"""Creates directories, mostly private ones; never widens permissions of an existing directory."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.os_accounts import OsAccount

PRIVATE = 0o700
ENTERABLE = 0o711


class DirectoryUnsafe(EmbeddedError):
    """A directory belongs to another account, or is open to others."""


def make_public(path: Path) -> None:
    """Create a directory that others may enter but not list; raises DirectoryUnsafe."""
    make_parents(path)
    with suppress(FileExistsError):
        path.mkdir(mode=PRIVATE)
        path.chmod(ENTERABLE)  # chmod ignores the umask
    path_stat = path.lstat()
    mode = stat.S_IMODE(path_stat.st_mode)
    if not stat.S_ISDIR(path_stat.st_mode) or path_stat.st_uid != os.geteuid() or mode & 0o022:
        raise DirectoryUnsafe(f"{path} must be a directory that only its owner, root, can write to")


def make_parents(path: Path) -> None:
    """Create the missing parent directories of the path; others may enter but not list them."""
    if not path.parent.exists():
        make_parents(path.parent)
        with suppress(FileExistsError):
            path.parent.mkdir(mode=PRIVATE)
            path.parent.chmod(ENTERABLE)


def make_private(path: Path, account: OsAccount, *, fix_mode: bool = False) -> None:
    """Create or verify a directory that only the account can enter; raises DirectoryUnsafe.

    An existing directory must belong to the account, or to this process, which then changes its
    owner. If others can enter it, it is rejected, because they may have put something there; with
    `fix_mode` its mode is corrected instead.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=PRIVATE)
    fd = _open_directory(path)
    try:
        path_stat = os.fstat(fd)
        _reject_foreign_owner(path, path_stat, account)
        if not fix_mode:
            _reject_open_mode(path, path_stat)
        os.fchmod(fd, PRIVATE)
        if path_stat.st_uid != account.uid:
            os.fchown(fd, account.uid, account.gid)
    finally:
        os.close(fd)


def reject_unsafe(path: Path, account: OsAccount) -> None:
    """Raise DirectoryUnsafe if the path exists and is not a private directory of the account."""
    with suppress(FileNotFoundError):
        path_stat = path.lstat()
        _reject_foreign_owner(path, path_stat, account)
        _reject_open_mode(path, path_stat)


def _reject_foreign_owner(path: Path, path_stat: os.stat_result, account: OsAccount) -> None:
    if not stat.S_ISDIR(path_stat.st_mode) or path_stat.st_uid not in (account.uid, os.geteuid()):
        raise DirectoryUnsafe(f"{path} is not a directory of {account}: remove it")


def _reject_open_mode(path: Path, path_stat: os.stat_result) -> None:
    if stat.S_IMODE(path_stat.st_mode) != PRIVATE:
        raise DirectoryUnsafe(f"{path} is open to other users, its mode must be 0700: remove it")


def _open_directory(path: Path) -> int:
    # Opened once, without following links, so that the checked directory is the one that is
    # changed.
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise DirectoryUnsafe(f"{path} cannot be used as a directory: {error.strerror}") from None
