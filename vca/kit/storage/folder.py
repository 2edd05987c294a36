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
    ObjectInfo,
    ObjectNotFound,
    ObjectReader,
    StorageError,
    Store,
    require_folder,
    require_key,
)

# What a killed process left; a living one is long done.
_ABANDONED_AFTER_S = 3_600


class FolderStore(Store):
    """Files below `root`, 0600 in folders of 0700; made when the first one is kept."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> ObjectInfo:
        path = self._path(key)
        with _translate_errors("writing failed"):
            _create_folders(self._root, path.parent)
            _remove_abandoned(path)
            fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            info = _write_chunks(fd, chunks)
            with _translate_errors("writing failed"):
                temporary.replace(path)
                _sync(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink()  # gone already when it was moved to its place
        return info

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        path = self._path(key)
        try:
            with _translate_errors("reading failed"):
                file = path.open("rb")
                file.seek(start)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                raise ObjectNotFound from None
            raise
        return ObjectReader(file, length, (OSError,))

    def exists(self, key: str) -> bool:
        path = self._path(key)
        return _exists(path) and path.is_file()

    def delete(self, key: str) -> None:
        with _translate_errors("deleting failed"):
            self._path(key).unlink(missing_ok=True)

    def delete_all(self, folder: str) -> int:
        path = self._root / require_folder(folder)
        if not _exists(path):
            return 0
        with _translate_errors("deleting failed"):
            file_count = sum(1 for file in path.rglob("[!.]*") if file.is_file())
            shutil.rmtree(path)
        return file_count

    def keys(self, folder: str) -> Iterator[str]:
        path = self._root / require_folder(folder)
        if not _exists(path):
            return
        with _translate_errors("looking failed"):
            files = [file for file in path.rglob("[!.]*") if file.is_file()]
        for file in files:
            yield file.relative_to(self._root).as_posix()

    def _path(self, key: str) -> Path:
        return self._root / require_key(key)


@contextmanager
def _translate_errors(message: str) -> Iterator[None]:
    """Whatever the disk says becomes a StorageError; people mend disks, so never for good."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{message}: {error.strerror}", permanent=False) from error


def _exists(path: Path) -> bool:
    """As `Path.exists`, which also calls absent what it was not allowed to look at."""
    with _translate_errors("looking failed"):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def _write_chunks(fd: int, chunks: Iterable[bytes]) -> ObjectInfo:
    """Write what comes and see it onto the disk. What the chunks raise is not the disk's."""
    digest = Digest(chunks)
    with os.fdopen(fd, "wb", buffering=0) as file:
        for chunk in digest:
            with _translate_errors("writing failed"):
                _write_all(file.fileno(), chunk)
        with _translate_errors("writing failed"):
            os.fsync(file.fileno())
    return digest.info


def _write_all(fd: int, chunk: bytes) -> None:
    unwritten = memoryview(chunk)
    while unwritten:
        unwritten = unwritten[os.write(fd, unwritten) :]


def _create_folders(root: Path, folder: Path) -> None:
    """Each with its own mode: `parents=True` would give only the last one ours."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    missing = [parent for parent in (folder, *folder.parents) if root in parent.parents]
    for parent in reversed(missing):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
            _sync(parent.parent)


def _remove_abandoned(path: Path) -> None:
    """Remove what died while it was being written for this key."""
    oldest = clock.now().timestamp() - _ABANDONED_AFTER_S
    for file in path.parent.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < oldest:
                file.unlink()


def _sync(folder: Path) -> None:
    """A new name in a folder outlives a power cut once the folder is on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
