"""A folder as the store: private, atomic, and honest about a disk that fails."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.suites.storage import WAV, StoreContract, iterate, new_folder
from tests.support.processes import wait_until
from vca.kit.storage import StorageError, Store
from vca.kit.storage.folder import FolderStore

_ENDLESS = """
import sys
from itertools import repeat
from pathlib import Path
from vca.kit.storage.folder import FolderStore
FolderStore(Path(sys.argv[1])).put("a/b.wav", repeat(b"x"), content_type="audio/wav")
"""


class TestFolderStore(StoreContract):
    store_class = FolderStore

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FolderStore(tmp_path / "kept")

    @pytest.fixture
    def unavailable_store(self, tmp_path: Path) -> Store:
        """Where links lead in a circle, nothing can be looked at, for root neither."""
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        return FolderStore(tmp_path / "circle")

    def stored_names(self, store: Store, folder: str) -> list[str]:
        assert isinstance(store, FolderStore)
        return [str(one) for one in (store._root / folder).rglob("*") if one.is_file()]


def test_nobody_else_can_read_what_is_kept(tmp_path: Path) -> None:
    kept, before = tmp_path / "deep" / "kept", os.umask(0)
    try:
        FolderStore(kept).put("a/2026/11/b.wav", iterate(b"x"), content_type=WAV)
    finally:
        os.umask(before)

    modes = {
        str(one.relative_to(kept)): stat.S_IMODE(one.stat().st_mode) for one in kept.rglob("*")
    }
    assert modes == {"a": 0o700, "a/2026": 0o700, "a/2026/11": 0o700, "a/2026/11/b.wav": 0o600}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


def test_a_full_disk_is_worth_another_try_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, within = FolderStore(tmp_path), new_folder()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(StorageError, match="No space left") as raised:
        store.put(f"{within}/a.wav", iterate(b"x"), content_type=WAV)

    assert not raised.value.permanent
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


def test_what_a_killed_process_left_is_cleared_by_the_next_once_it_is_old(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _ENDLESS, str(tmp_path)])
    try:
        wait_until(lambda: any(one.stat().st_size for one in (tmp_path / "a").glob(".b.wav.*")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    store = FolderStore(tmp_path)
    assert not store.exists("a/b.wav")
    [left] = (tmp_path / "a").iterdir()

    store.put("a/b.wav", iterate(b"x"), content_type=WAV)
    assert left.exists()

    os.utime(left, (0, 0))
    store.put("a/b.wav", iterate(b"x"), content_type=WAV)
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["b.wav"]


def test_a_file_that_was_cut_short_is_an_error_and_no_shorter_answer(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a/b.wav", iterate(b"0123456789"), content_type=WAV)
    opened = store.open("a/b.wav", start=2, length=8)
    os.truncate(tmp_path / "a" / "b.wav", 5)

    with pytest.raises(StorageError, match="shorter than expected"):
        list(opened)
