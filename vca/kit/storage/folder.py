"""A folder of this machine: files appear whole or not at all, for nobody but us."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vca.kit import clock
from vca.kit.storage.store import (
    Digest,
    Missing,
    Opened,
    StorageError,
    Store,
    Stored,
    checked_folder,
    checked_key,
)

# What a killed process left; a living one is long done.
_ABANDONED_AFTER_S = 3_600


class FolderStore(Store):
    """Files below `root`, 0600 in folders of 0700; made when the first one is kept."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> Stored:
        path = self._path(key)
        with _failing("writing failed"):
            _make_folders(self._root, path.parent)
            _clear_abandoned(path)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        passing = Path(name)
        try:
            stored = _written(handle, chunks)
            with _failing("writing failed"):
                passing.replace(path)
                _sync(path.parent)
        finally:
            with suppress(OSError):
                passing.unlink()  # gone already when it was moved to its place
        return stored

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Opened:
        path = self._path(key)
        try:
            with _failing("reading failed"):
                file = path.open("rb")
                file.seek(start)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                raise Missing from None
            raise
        return Opened(file, length, (OSError,))

    def exists(self, key: str) -> bool:
        path = self._path(key)
        return _is_there(path) and path.is_file()

    def delete(self, key: str) -> None:
        with _failing("deleting failed"):
            self._path(key).unlink(missing_ok=True)

    def delete_all(self, folder: str) -> int:
        path = self._root / checked_folder(folder)
        if not _is_there(path):
            return 0
        with _failing("deleting failed"):
            kept = sum(1 for one in path.rglob("[!.]*") if one.is_file())
            shutil.rmtree(path)
        return kept

    def keys(self, folder: str) -> Iterator[str]:
        path = self._root / checked_folder(folder)
        if not _is_there(path):
            return
        with _failing("looking failed"):
            found = [one for one in path.rglob("[!.]*") if one.is_file()]
        for one in found:
            yield one.relative_to(self._root).as_posix()

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Whatever the disk says becomes a StorageError; people mend disks, so never for good."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror}", permanent=False) from error


def _is_there(path: Path) -> bool:
    """As `Path.exists`, which also calls absent what it was not allowed to look at."""
    with _failing("looking failed"):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def _written(handle: int, chunks: Iterable[bytes]) -> Stored:
    """Write what comes and see it onto the disk. What the chunks raise is not the disk's."""
    read = Digest(chunks)
    with os.fdopen(handle, "wb", buffering=0) as file:
        for chunk in read:
            with _failing("writing failed"):
                _write(file.fileno(), chunk)
        with _failing("writing failed"):
            os.fsync(file.fileno())
    return read.stored


def _write(handle: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _make_folders(root: Path, folder: Path) -> None:
    """Each with its own mode: `parents=True` would give only the last one ours."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    missing = [one for one in (folder, *folder.parents) if root in one.parents]
    for one in reversed(missing):
        if not one.exists():
            one.mkdir(mode=0o700, exist_ok=True)
            _sync(one.parent)


def _clear_abandoned(path: Path) -> None:
    """Remove what died while it was being written for this key."""
    oldest = clock.now().timestamp() - _ABANDONED_AFTER_S
    for one in path.parent.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):
            if one.stat().st_mtime < oldest:
                one.unlink()


def _sync(folder: Path) -> None:
    """A new name in a folder outlives a power cut once the folder is on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
