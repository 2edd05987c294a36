"""The folder store: file modes, atomic writes and disk failures."""

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
        """Return a store on a circular symbolic link, which fails for every user."""
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        return FolderStore(tmp_path / "circle")

    def stored_names(self, store: Store, folder: str) -> list[str]:
        assert isinstance(store, FolderStore)
        return [str(path) for path in (store._root / folder).rglob("*") if path.is_file()]


def test_stored_files_are_private_to_their_owner(tmp_path: Path) -> None:
    store_folder, umask = tmp_path / "deep" / "kept", os.umask(0)
    try:
        FolderStore(store_folder).put("a/2026/11/b.wav", iterate(b"x"), content_type=WAV)
    finally:
        os.umask(umask)

    modes = {
        str(path.relative_to(store_folder)): stat.S_IMODE(path.stat().st_mode)
        for path in store_folder.rglob("*")
    }
    assert modes == {"a": 0o700, "a/2026": 0o700, "a/2026/11": 0o700, "a/2026/11/b.wav": 0o600}
    assert stat.S_IMODE(store_folder.stat().st_mode) == 0o700


def test_a_full_disk_is_a_retryable_error_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = FolderStore(tmp_path), new_folder()

    def fail_to_write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", fail_to_write)
    with pytest.raises(StorageError, match="No space left") as error_info:
        store.put(f"{folder}/a.wav", iterate(b"x"), content_type=WAV)

    assert not error_info.value.permanent
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_next_put_deletes_an_old_partial_file_of_a_killed_process(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _ENDLESS, str(tmp_path)])
    try:
        wait_until(lambda: any(path.stat().st_size for path in (tmp_path / "a").glob(".b.wav.*")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    store = FolderStore(tmp_path)
    assert not store.exists("a/b.wav")
    [partial_file] = (tmp_path / "a").iterdir()

    store.put("a/b.wav", iterate(b"x"), content_type=WAV)
    assert partial_file.exists()

    os.utime(partial_file, (0, 0))
    store.put("a/b.wav", iterate(b"x"), content_type=WAV)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.wav"]


def test_reading_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a/b.wav", iterate(b"0123456789"), content_type=WAV)
    chunks = store.open("a/b.wav", start=2, length=8)
    os.truncate(tmp_path / "a" / "b.wav", 5)

    with pytest.raises(StorageError, match="shorter than expected"):
        list(chunks)
