"""An archive as a stranger's input: what is unpacked, and what is made of its bytes."""

import hashlib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from vca.kit import json
from vca.tenancy.archive_reader import ArchiveDamaged, open_archive, replace_uuid
from vca.tenancy.archive_writer import MANIFEST, Manifest, Member

OLD = UUID("5ca1ab1e-0000-4000-8000-000000000001")
NEW = UUID("5ca1ab1e-0000-4000-8000-000000000002")
NAME = "tenant/calls.csv"


def _archive(path: Path, content: bytes, *, announced: int, method: int) -> Path:
    member = Member(NAME, ("id",), 1, announced, hashlib.sha256(content).hexdigest())
    now = datetime(2026, 1, 1, tzinfo=UTC)
    manifest = Manifest(OLD, "0001", now, "18", {}, (member,))
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(NAME, content)
        file.writestr(MANIFEST, json.dumps(manifest.as_dict()))
    return path


def test_an_id_is_replaced_wherever_the_blocks_are_cut() -> None:
    content = f"{OLD},{OLD}{OLD}\nx,{OLD},{OLD}".encode()
    expected = content.replace(str(OLD).encode(), str(NEW).encode())

    for size in range(1, len(content) + 1):
        blocks = [content[at : at + size] for at in range(0, len(content), size)]
        assert b"".join(replace_uuid(iter(blocks), OLD, NEW)) == expected


def test_no_more_is_unpacked_than_was_announced(tmp_path: Path) -> None:
    bomb = _archive(
        tmp_path / "bomb.zip", bytes(50_000_000), announced=10, method=zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 100_000
    unpacked: list[bytes] = []

    with open_archive(bomb) as archive, pytest.raises(ArchiveDamaged):
        unpacked.extend(archive.iter_blocks(archive.manifest.members[0]))

    assert unpacked == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_no_export_uses_are_refused(tmp_path: Path, method: int) -> None:
    """Their unpackers take memory as the archive wishes."""
    file = _archive(tmp_path / "odd.zip", b"id\n", announced=3, method=method)

    with pytest.raises(ArchiveDamaged, match="compression"), open_archive(file):
        pass


def test_an_archive_of_very_many_members_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as file:
        for number in range(600):
            file.writestr(f"tenant/t{number}.csv", b"")
        file.writestr(MANIFEST, b"{}")

    with pytest.raises(ArchiveDamaged, match="not an archive"), open_archive(tmp_path / "many.zip"):
        pass
