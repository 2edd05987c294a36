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
    """A store did not do what it was asked.

    `permanent` decides on retry: a name that cannot be one is, a full disk, a missing right or a
    time-out is not, since people set those right.
    """

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class ObjectNotFound(StorageError):
    """There is nothing under that key."""

    def __init__(self) -> None:
        super().__init__("nothing is kept under that key", permanent=True)


@dataclass(frozen=True)
class ObjectInfo:
    """What a store took: so many bytes, with this SHA-256 in hex."""

    size_bytes: int
    sha256: str


class _Source(Protocol):
    def read(self, amount: int, /) -> bytes: ...

    def close(self) -> None: ...


class ObjectReader(Iterator[bytes]):
    """A part of what is kept, in chunks; closes itself at the end, and must be closed before it.

    `failures` are what the source raises; they become a StorageError.
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
            raise StorageError("reading failed midway", permanent=False) from error
        if not chunk:
            self.close()
            if self._remaining_bytes:
                raise StorageError("what is kept ends too early", permanent=False)
            raise StopIteration
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(chunk)
        return chunk

    def close(self) -> None:
        """Let go of the file or the connection behind it."""
        self._source.close()


class Digest(Iterator[bytes]):
    """Passes chunks on, and knows the size and the SHA-256 of what went through."""

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
        """What has gone through so far."""
        return ObjectInfo(self._size, self._hash.hexdigest())


class Store(ABC):
    """One place for files under keys such as `a/2026/11/b.wav`; shared by threads.

    Keys and folders are words of a-z, 0-9, `_` and `-` between slashes, a key with an extension or
    without. Anything else is StorageError(permanent=True) before the store is touched, so that no
    key can lead out of it. Every failure is a StorageError; every wait is bounded.
    """

    @abstractmethod
    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> ObjectInfo:
        """Keep the chunks under `key`, all of them or nothing; again replaces what was there.

        What the chunks themselves raise rises as it is. A process that dies meanwhile leaves
        nothing that could be read under the key.
        """

    @abstractmethod
    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        """The bytes from `start`, `length` of them or all; raises Missing now, not when read.

        The caller asks only for what is there.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether something is kept under `key`."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete what is under `key`; nothing there is a success."""

    @abstractmethod
    def delete_all(self, folder: str) -> int:
        """Delete everything in `folder`, `a` meaning `a/…` and not `ab`; how many there were.

        After a failure some may be left: repeat it.
        """

    @abstractmethod
    def keys(self, folder: str) -> Iterator[str]:
        """The key of everything in `folder`, in no order; nothing for one that is not there.

        What is kept or deleted meanwhile may be among them or not.
        """

    def presigned_url(self, key: str, *, content_type: str, valid_s: int) -> str | None:
        """A URL that anybody may read `key` at for `valid_s` seconds; None: not from this store."""
        return None


def read_digest(store: Store, key: str) -> ObjectInfo:
    """Read what is kept under `key` back to the end; raises Missing."""
    with closing(store.open(key)) as reader:
        digest = Digest(reader)
        for _ in digest:
            pass
    return digest.info


def is_key(key: str) -> bool:
    """Whether a key is spelt as one, and so leads nowhere but into the store."""
    return _KEY.fullmatch(key) is not None


def in_folder(key: str, folder: str) -> bool:
    """Whether `key` is one, and of something in `folder`."""
    return is_key(key) and key.startswith(f"{folder}/")


def require_key(key: str) -> str:
    """The key; raises StorageError for what is none."""
    if not is_key(key):
        raise StorageError("not a key of a store", permanent=True)
    return key


def require_folder(folder: str) -> str:
    """The folder's name; raises StorageError for what is none."""
    if _FOLDER.fullmatch(folder) is None:
        raise StorageError("not a folder of a store", permanent=True)
    return folder
