"""Read an archive that somebody hands in: every name from a closed list, every byte checked."""

import hashlib
import hmac
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from vca.kit import json
from vca.kit.errors import Conflict
from vca.tenancy.archive import FORMAT, MANIFEST, VERSION, Manifest, Member, Told

_BLOCK = 128 * 1024
_LONGEST_MANIFEST = 1024 * 1024
_MOST_MEMBERS = 500
_NAME = re.compile(r"(tenant|public)/[a-z][a-z0-9_]{0,62}\.csv", re.ASCII)
# What the standard library raises for files that are no zip, or were cut, or had bits flipped.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    OverflowError,
)


class ArchiveRefused(Conflict):
    """An archive that cannot be imported; nothing was written."""

    code = "archive-refused"


class ArchiveDamaged(ArchiveRefused):
    """An archive that is not as it was written."""

    code = "archive-damaged"

    def __init__(self, what: str) -> None:
        super().__init__(f"The archive is damaged: {what}. Nothing was imported.")


class Archive:
    """An archive that is open for reading."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        infos = file.infolist()
        names = [info.filename for info in infos]
        if len(names) > _MOST_MEMBERS or MANIFEST not in names or len(set(names)) != len(names):
            raise ArchiveDamaged("it is not a tenant's archive")
        if any(
            info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos
        ):
            raise ArchiveDamaged("it is packed in a way that no export uses")
        self.manifest = _manifest(self._read_manifest())
        if sorted(names) != sorted([MANIFEST, *(member.name for member in self.manifest.members)]):
            raise ArchiveDamaged("its members are not those of its manifest")

    def verify(self, told: Told = lambda _: None) -> None:
        """Read it all once; raises ArchiveDamaged for what its manifest does not vouch for."""
        for member in self.manifest.members:
            told(f"checking {member.name}")
            for _ in self.blocks(member):
                pass

    def blocks(self, member: Member) -> Iterator[bytes]:
        """A member's bytes; raises ArchiveDamaged no later than at their end.

        Never more than the manifest announced is unpacked.
        """
        digest, size = hashlib.sha256(), 0
        with _readable(member.name), self._file.open(member.name) as stream:
            while block := stream.read(_BLOCK):
                size += len(block)
                if size > member.bytes:
                    break
                digest.update(block)
                yield block
        if size != member.bytes or not hmac.compare_digest(digest.hexdigest(), member.sha256):
            raise ArchiveDamaged(f"{member.name} has not the checksum of the manifest")

    def _read_manifest(self) -> bytes:
        with _readable(MANIFEST), self._file.open(MANIFEST) as stream:
            content = stream.read(_LONGEST_MANIFEST + 1)
        if len(content) > _LONGEST_MANIFEST:
            raise ArchiveDamaged("its manifest is too long")
        return content


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive in a file. Raises ArchiveRefused for one of another format version."""
    try:
        file = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ArchiveRefused(f"{path} is not there.") from None
    except _UNREADABLE:
        raise ArchiveDamaged("it is no zip file, or was cut short") from None
    with file:
        yield Archive(file)


def renamed(blocks: Iterator[bytes], old: UUID, new: UUID) -> Iterator[bytes]:
    """The bytes with every occurrence of one id, also across blocks, made the other."""
    this, that = str(old).encode(), str(new).encode()
    kept = b""
    for block in blocks:
        joined = (kept + block).replace(this, that)
        kept = joined[1 - len(this) :]
        yield joined[: len(joined) - len(kept)]
    yield kept


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise ArchiveDamaged(f"{name} cannot be read") from error


def _manifest(content: bytes) -> Manifest:
    try:
        said = json.strict_loads(content)
        if (said["format"], said["version"]) != (FORMAT, VERSION):
            raise ArchiveRefused(
                f"The archive has format {said['format']!s:.40} {said['version']!s:.40};"
                f" this code reads {FORMAT} {VERSION}. Nothing was imported."
            )
        return Manifest(
            tenant_id=UUID(said["tenant_id"]),
            schema_revision=_typed(said["schema_revision"], str),
            exported_at=datetime.fromisoformat(said["exported_at"]),
            postgres=_typed(said["postgres"], str),
            tenant=_typed(said["tenant"], dict),
            members=tuple(_member(member) for member in said["members"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArchiveDamaged("its manifest is not one") from error


def _member(said: Any) -> Member:
    name = _typed(said["name"], str)
    if not _NAME.fullmatch(name):
        raise ValueError("a name that no export gives")
    columns = tuple(_typed(column, str) for column in said["columns"])
    rows, size = (_typed(said[field], int) for field in ("rows", "bytes"))
    return Member(name, columns, rows, size, _typed(said["sha256"], str))


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(kind)
    return value
