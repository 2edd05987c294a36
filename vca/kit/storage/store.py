"""The contract of every store; `tests/contract/suites/storage.py` tests it in the same order."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

_NAME = r"[0-9a-z][0-9a-z_-]{0,99}"
_KEY = re.compile(rf"(?:{_NAME}/){{0,7}}{_NAME}(?:\.[0-9a-z]{{1,8}})?", re.ASCII)
_FOLDER = re.compile(rf"(?:{_NAME}/){{0,7}}{_NAME}", re.ASCII)
CHUNK_BYTES = 256 * 1024


class StorageError(Exception):
    """An operation of a store failed.

    `permanent` decides on retries. An invalid key is permanent. A full disk, a missing permission
    or a timeout is not, because an operator can fix it.
    """

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class ObjectNotFound(StorageError):
    """There is no object with that key."""

    def __init__(self) -> None:
        super().__init__("object not found", permanent=True)


@dataclass(frozen=True)
class ObjectInfo:
    """The size and the hexadecimal SHA-256 of a stored object."""

    size_bytes: int
    sha256: str


class _Source(Protocol):
    def read(self, amount: int, /) -> bytes: ...

    def close(self) -> None: ...


class ObjectReader(Iterator[bytes]):
    """Reads a range of an object in chunks; closes itself at the end. Close it if you stop earlier.

    `source_errors` are the exceptions that the source raises; they become StorageError.
    """

    def __init__(
        self, source: _Source, length: int | None, source_errors: tuple[type[Exception], ...]
    ) -> None:
        self._source = source
        self._remaining_bytes = length
        self._source_errors = source_errors

    def __next__(self) -> bytes:
        amount = (
            CHUNK_BYTES
            if self._remaining_bytes is None
            else min(CHUNK_BYTES, self._remaining_bytes)
        )
        try:
            chunk = self._source.read(amount) if amount else b""
        except self._source_errors as error:
            raise StorageError("reading was interrupted", permanent=False) from error
        if not chunk:
            self.close()
            if self._remaining_bytes:
                raise StorageError("the object is shorter than expected", permanent=False)
            raise StopIteration
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(chunk)
        return chunk

    def close(self) -> None:
        """Close the underlying file or connection."""
        self._source.close()


class Digest(Iterator[bytes]):
    """Passes chunks through and computes their total size and SHA-256."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._hash = hashlib.sha256()
        self._size = 0

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._hash.update(chunk)
        self._size += len(chunk)
        return chunk

    @property
    def info(self) -> ObjectInfo:
        """Return the size and SHA-256 of the chunks so far."""
        return ObjectInfo(self._size, self._hash.hexdigest())


class Store(ABC):
    """Stores files under keys such as `a/2026/11/b.wav`; thread-safe.

    Keys and folders consist of segments of a-z, 0-9, `_` and `-`, separated by slashes; a key may
    end in a file extension. Any other key raises StorageError(permanent=True) before the store is
    accessed, so no key can lead out of the store. Every failure is a StorageError, and every wait
    is bounded.
    """

    @abstractmethod
    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> ObjectInfo:
        """Store the chunks under `key`, all or nothing; replaces an existing object.

        Errors raised by the chunks are raised unchanged. If the process dies, nothing readable is
        left under the key.
        """

    @abstractmethod
    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        """Return the bytes from `start`, `length` of them or all; raises ObjectNotFound at once.

        The caller must only ask for bytes that exist.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Return whether there is an object under `key`."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete the object under `key`; succeeds if there is none."""

    @abstractmethod
    def delete_all(self, folder: str) -> int:
        """Delete everything in `folder` and return how many objects there were.

        `a` means `a/…`, not `ab`. After a failure some objects may be left; repeat the call.
        """

    @abstractmethod
    def keys(self, folder: str) -> Iterator[str]:
        """Return the keys of all objects in `folder`, unordered; none if the folder does not exist.

        Objects that are stored or deleted meanwhile may be included or not.
        """

    def presigned_url(self, key: str, *, content_type: str, valid_s: int) -> str | None:
        """Return a URL that serves `key` to anyone for `valid_s` seconds; None: unsupported."""
        return None


def read_digest(store: Store, key: str) -> ObjectInfo:
    """Read the whole object under `key`; return its size and SHA-256; raises ObjectNotFound."""
    with closing(store.open(key)) as reader:
        digest = Digest(reader)
        for _ in digest:
            pass
    return digest.info


def is_key(key: str) -> bool:
    """Return whether `key` is a well-formed key, which can only lead into the store."""
    return _KEY.fullmatch(key) is not None


def in_folder(key: str, folder: str) -> bool:
    """Return whether `key` is a well-formed key inside `folder`."""
    return is_key(key) and key.startswith(f"{folder}/")


def require_key(key: str) -> str:
    """Return the key; raises StorageError if it is malformed."""
    if not is_key(key):
        raise StorageError("invalid object key", permanent=True)
    return key


def require_folder(folder: str) -> str:
    """Return the folder's name; raises StorageError if it is malformed."""
    if _FOLDER.fullmatch(folder) is None:
        raise StorageError("invalid folder name", permanent=True)
    return folder
