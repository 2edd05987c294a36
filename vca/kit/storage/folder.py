"""Storage in a local folder: files appear complete or not at all, readable for this user only."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from typing_extensions import override

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

# A temporary file this old belongs to a process that was killed; writing never takes that long.
_ABANDONED_AFTER_S = 3_600


class FolderStore(Store):
    """Files below `root`, mode 0600 in folders of mode 0700, created with the first object."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @override
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
                temporary.unlink()  # missing if it was renamed
        return info

    @override
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

    @override
    def exists(self, key: str) -> bool:
        path = self._path(key)
        return _exists(path) and path.is_file()

    @override
    def delete(self, key: str) -> None:
        with _translate_errors("deleting failed"):
            self._path(key).unlink(missing_ok=True)

    @override
    def delete_all(self, folder: str) -> int:
        path = self._root / require_folder(folder)
        if not _exists(path):
            return 0
        with _translate_errors("deleting failed"):
            file_count = sum(1 for file in path.rglob("[!.]*") if file.is_file())
            shutil.rmtree(path)
        return file_count

    @override
    def keys(self, folder: str) -> Iterator[str]:
        path = self._root / require_folder(folder)
        if not _exists(path):
            return
        with _translate_errors("lookup failed"):
            files = [file for file in path.rglob("[!.]*") if file.is_file()]
        for file in files:
            yield file.relative_to(self._root).as_posix()

    def _path(self, key: str) -> Path:
        return self._root / require_key(key)


@contextmanager
def _translate_errors(message: str) -> Iterator[None]:
    """Turn OSError into StorageError; never permanent, because operators can repair disks."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{message}: {error.strerror}", permanent=False) from error


def _exists(path: Path) -> bool:
    """Return whether the path exists; unlike `Path.exists`, raise an error if access was denied."""
    with _translate_errors("lookup failed"):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def _write_chunks(fd: int, chunks: Iterable[bytes]) -> ObjectInfo:
    """Write the chunks and sync them to disk. Errors of the chunks are not translated."""
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
    """Create each folder with mode 0700; `parents=True` would set the mode of the last one only."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    missing = [parent for parent in (folder, *folder.parents) if root in parent.parents]
    for parent in reversed(missing):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
            _sync(parent.parent)


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files of this key that killed processes left behind."""
    oldest = clock.now().timestamp() - _ABANDONED_AFTER_S
    for file in path.parent.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < oldest:
                file.unlink()


def _sync(folder: Path) -> None:
    """Sync the folder, so that a new name in it survives a power failure."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
