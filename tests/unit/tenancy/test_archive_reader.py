"""Tests of the archive reader with untrusted archives: limits and replacement of ids."""

import hashlib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from vca.kit import json
from vca.tenancy.archive_reader import ArchiveDamaged, open_archive, replace_uuid
from vca.tenancy.archive_writer import MANIFEST, Manifest, Member

OLD_ID = UUID("5ca1ab1e-0000-4000-8000-000000000001")
NEW_ID = UUID("5ca1ab1e-0000-4000-8000-000000000002")
MEMBER_NAME = "tenant/calls.csv"


def _write_archive(path: Path, content: bytes, *, announced: int, method: int) -> Path:
    member = Member(MEMBER_NAME, ("id",), 1, announced, hashlib.sha256(content).hexdigest())
    now = datetime(2026, 1, 1, tzinfo=UTC)
    manifest = Manifest(OLD_ID, "0001", now, "18", {}, (member,))
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(MEMBER_NAME, content)
        file.writestr(MANIFEST, json.dumps(manifest.as_dict()))
    return path


def test_an_id_is_replaced_across_block_boundaries() -> None:
    content = f"{OLD_ID},{OLD_ID}{OLD_ID}\nx,{OLD_ID},{OLD_ID}".encode()
    expected = content.replace(str(OLD_ID).encode(), str(NEW_ID).encode())

    for size in range(1, len(content) + 1):
        blocks = [content[start : start + size] for start in range(0, len(content), size)]
        assert b"".join(replace_uuid(iter(blocks), OLD_ID, NEW_ID)) == expected


def test_a_member_larger_than_announced_is_not_unpacked(tmp_path: Path) -> None:
    archive_file = _write_archive(
        tmp_path / "bomb.zip", bytes(50_000_000), announced=10, method=zipfile.ZIP_DEFLATED
    )
    assert archive_file.stat().st_size < 100_000
    blocks: list[bytes] = []

    with open_archive(archive_file) as archive, pytest.raises(ArchiveDamaged):
        blocks.extend(archive.iter_blocks(archive.manifest.members[0]))

    assert blocks == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_that_no_export_uses_are_rejected(tmp_path: Path, method: int) -> None:
    """With these methods the archive determines the memory for decompression."""
    archive_file = _write_archive(tmp_path / "odd.zip", b"id\n", announced=3, method=method)

    with pytest.raises(ArchiveDamaged, match="compression"), open_archive(archive_file):
        pass


def test_an_archive_of_too_many_members_is_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as file:
        for number in range(600):
            file.writestr(f"tenant/t{number}.csv", b"")
        file.writestr(MANIFEST, b"{}")

    with pytest.raises(ArchiveDamaged, match="not an archive"), open_archive(tmp_path / "many.zip"):
        pass
