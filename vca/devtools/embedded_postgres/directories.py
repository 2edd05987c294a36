"""Making directories, private ones above all; nothing that somebody else made is ever widened."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.os_accounts import OsAccount

PRIVATE = 0o700
ENTERABLE = 0o711


class DirectoryUnsafe(EmbeddedError):
    """A directory is not what it has to be: somebody else's, or open to others."""


def make_public(path: Path) -> None:
    """A directory of ours that others may step through and not list; raises DirectoryUnsafe."""
    make_parents(path)
    with suppress(FileExistsError):
        path.mkdir(mode=PRIVATE)
        path.chmod(ENTERABLE)  # the umask does not apply to chmod
    path_stat = path.lstat()
    mode = stat.S_IMODE(path_stat.st_mode)
    if not stat.S_ISDIR(path_stat.st_mode) or path_stat.st_uid != os.geteuid() or mode & 0o022:
        raise DirectoryUnsafe(f"{path} must be a directory that only its owner, root, can write to")


def make_parents(path: Path) -> None:
    """The missing directories above the path, such that others may step through them."""
    if not path.parent.exists():
        make_parents(path.parent)
        with suppress(FileExistsError):
            path.parent.mkdir(mode=PRIVATE)
            path.parent.chmod(ENTERABLE)


def make_private(path: Path, account: OsAccount, *, fix_mode: bool = False) -> None:
    """A directory that only the account can enter, made or verified; raises DirectoryUnsafe.

    One that exists must be the account's, or ours to hand over. If others can enter it, it is
    refused, as they may have put something there; with `narrow` it is closed to them instead.
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
    """Raises DirectoryUnsafe if the path exists and is not a private directory of the account."""
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
    # By descriptor and without following a link, so that what is checked is what is changed.
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise DirectoryUnsafe(f"{path} cannot be used as a directory: {error.strerror}") from None
