"""Read an untrusted archive: only known member names, and a checksum for every byte."""

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
from vca.tenancy.archive_writer import FORMAT, MANIFEST, VERSION, Manifest, Member, ProgressCallback

_BLOCK_BYTES = 128 * 1024
_MAX_MANIFEST_BYTES = 1024 * 1024
_MAX_MEMBERS = 500
_MEMBER_NAME = re.compile(r"(tenant|public)/[a-z][a-z0-9_]{0,62}\.csv", re.ASCII)
# Errors of the standard library for files that are not a zip, are truncated, or have flipped bits.
_READ_ERRORS = (
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
    """The archive cannot be imported; nothing was written."""

    code = "archive-refused"


class ArchiveDamaged(ArchiveRefused):
    """The archive differs from what was exported."""

    code = "archive-damaged"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The archive is damaged: {reason}. Nothing was imported.")


class Archive:
    """An archive that is open for reading."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        infos = file.infolist()
        names = [info.filename for info in infos]
        if len(names) > _MAX_MEMBERS or MANIFEST not in names or len(set(names)) != len(names):
            raise ArchiveDamaged("it is not an archive of a tenant")
        if any(
            info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos
        ):
            raise ArchiveDamaged("it uses a compression that exports do not use")
        self.manifest = _parse_manifest(self._read_manifest())
        if sorted(names) != sorted([MANIFEST, *(member.name for member in self.manifest.members)]):
            raise ArchiveDamaged("its members differ from its manifest")

    def verify(self, on_progress: ProgressCallback = lambda _: None) -> None:
        """Read the whole archive once; raise ArchiveDamaged where it differs from its manifest."""
        for member in self.manifest.members:
            on_progress(f"checking {member.name}")
            for _ in self.iter_blocks(member):
                pass

    def iter_blocks(self, member: Member) -> Iterator[bytes]:
        """Yield a member's bytes; raise ArchiveDamaged at their end at the latest.

        Never decompresses more bytes than the manifest announces, so a zip bomb is harmless.
        """
        digest, size = hashlib.sha256(), 0
        with _translate_read_errors(member.name), self._file.open(member.name) as stream:
            while block := stream.read(_BLOCK_BYTES):
                size += len(block)
                if size > member.bytes:
                    break
                digest.update(block)
                yield block
        if size != member.bytes or not hmac.compare_digest(digest.hexdigest(), member.sha256):
            raise ArchiveDamaged(f"{member.name} does not match its checksum in the manifest")

    def _read_manifest(self) -> bytes:
        with _translate_read_errors(MANIFEST), self._file.open(MANIFEST) as stream:
            content = stream.read(_MAX_MANIFEST_BYTES + 1)
        if len(content) > _MAX_MANIFEST_BYTES:
            raise ArchiveDamaged("its manifest is too long")
        return content


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open the archive in a file; raise ArchiveRefused for another format version."""
    try:
        file = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ArchiveRefused(f"{path} does not exist.") from None
    except _READ_ERRORS:
        raise ArchiveDamaged("it is not a zip file, or is truncated") from None
    with file:
        yield Archive(file)


def replace_uuid(blocks: Iterator[bytes], old: UUID, new: UUID) -> Iterator[bytes]:
    """Yield the bytes with every occurrence of `old` replaced by `new`, across blocks too."""
    old_bytes, new_bytes = str(old).encode(), str(new).encode()
    tail = b""
    for block in blocks:
        joined = (tail + block).replace(old_bytes, new_bytes)
        tail = joined[1 - len(old_bytes) :]
        yield joined[: len(joined) - len(tail)]
    yield tail


@contextmanager
def _translate_read_errors(name: str) -> Iterator[None]:
    try:
        yield
    except _READ_ERRORS as error:
        raise ArchiveDamaged(f"{name} cannot be read") from error


def _parse_manifest(content: bytes) -> Manifest:
    try:
        document = json.strict_loads(content)
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise ArchiveRefused(
                f"The archive has format {document['format']!s:.40} {document['version']!s:.40};"
                f" this release reads {FORMAT} {VERSION}. Nothing was imported."
            )
        return Manifest(
            tenant_id=UUID(document["tenant_id"]),
            schema_revision=_require_type(document["schema_revision"], str),
            exported_at=datetime.fromisoformat(document["exported_at"]),
            postgres=_require_type(document["postgres"], str),
            tenant=_require_type(document["tenant"], dict),
            members=tuple(_parse_member(member) for member in document["members"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArchiveDamaged("its manifest is invalid") from error


def _parse_member(document: Any) -> Member:
    name = _require_type(document["name"], str)
    if not _MEMBER_NAME.fullmatch(name):
        raise ValueError("not a member name")
    columns = tuple(_require_type(column, str) for column in document["columns"])
    rows, size = (_require_type(document[field], int) for field in ("rows", "bytes"))
    return Member(name, columns, rows, size, _require_type(document["sha256"], str))


def _require_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(kind)
    return value
