"""Making directories, private ones above all; nothing that somebody else made is ever widened."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from vca.kit.embedded.accounts import Account
from vca.kit.embedded.errors import EmbeddedError

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
    found = path.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o022:
        raise DirectoryUnsafe(f"{path} must be a directory that only its owner, root, can write to")


def make_parents(path: Path) -> None:
    """The missing directories above the path, such that others may step through them."""
    if not path.parent.exists():
        make_parents(path.parent)
        with suppress(FileExistsError):
            path.parent.mkdir(mode=PRIVATE)
            path.parent.chmod(ENTERABLE)


def make_private(path: Path, account: Account, *, narrow: bool = False) -> None:
    """A directory that only the account can enter, made or verified; raises DirectoryUnsafe.

    One that exists must be the account's, or ours to hand over. If others can enter it, it is
    refused, as they may have put something there; with `narrow` it is closed to them instead.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=PRIVATE)
    fd = _open_directory(path)
    try:
        found = os.fstat(fd)
        _refuse_strangers(path, found, account)
        if not narrow:
            _refuse_open(path, found)
        os.fchmod(fd, PRIVATE)
        if found.st_uid != account.uid:
            os.fchown(fd, account.uid, account.gid)
    finally:
        os.close(fd)


def refuse_planted(path: Path, account: Account) -> None:
    """Raises DirectoryUnsafe if the path exists and is not a private directory of the account."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        _refuse_strangers(path, found, account)
        _refuse_open(path, found)


def _refuse_strangers(path: Path, found: os.stat_result, account: Account) -> None:
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (account.uid, os.geteuid()):
        raise DirectoryUnsafe(f"{path} is not a directory of {account}: remove it")


def _refuse_open(path: Path, found: os.stat_result) -> None:
    if stat.S_IMODE(found.st_mode) != PRIVATE:
        raise DirectoryUnsafe(f"{path} is open to other users, its mode must be 0700: remove it")


def _open_directory(path: Path) -> int:
    # By descriptor and without following a link, so that what is checked is what is changed.
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise DirectoryUnsafe(f"{path} cannot be used as a directory: {error.strerror}") from None
