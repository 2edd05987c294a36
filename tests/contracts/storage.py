"""What every store does, in the order of the words of `vca.kit.storage.store`.

A subclass gives the store and what its place holds, seen without the store.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import ClassVar

import pytest

from vca.kit.storage import ObjectInfo, ObjectNotFound, StorageError, Store, read_digest

WAV = "audio/wav"
NOT_KEYS = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "a/../b",
    "a//b",
    "./a",
    "a/",
    "a/.b",
    "a\\b",
    "a\x00b",
    "a/b\n",
    "A/b",
    "a/b.wav.wav",
    "\u0661/a",
    "a b",
    "a/" * 9 + "b",
    "x" * 300,
)
_folders = count(1)


def folder() -> str:
    """A folder that no test of this process has used."""
    return f"{next(_folders):032x}"


def pieces(*chunks: bytes) -> Iterator[bytes]:
    """Chunks that can be read once."""
    yield from chunks


class StoreContract:
    """Inherit and give the fixture and the hooks up to the first test."""

    store_class: ClassVar[type[Store]]

    @pytest.fixture
    def store(self) -> Store:
        """A store that can be used."""
        raise NotImplementedError

    @pytest.fixture
    def away(self) -> Store:
        """A store that does not answer, or whose place is not there."""
        raise NotImplementedError

    def held(self, store: Store, within: str) -> list[str]:
        """Everything that the place holds in a folder, unfinished things too."""
        raise NotImplementedError

    # --- put ---------------------------------------------------------------------------------

    def test_what_is_put_is_kept_with_its_size_and_digest(self, store: Store) -> None:
        key = f"{folder()}/2026/11/a.wav"
        audio = bytes(range(256)) * 8

        stored = store.put(key, pieces(audio[:100], b"", audio[100:]), content_type=WAV)

        assert stored == ObjectInfo(len(audio), hashlib.sha256(audio).hexdigest())
        assert b"".join(store.open(key)) == audio
        assert read_digest(store, key) == stored

    def test_nothing_can_be_kept_too(self, store: Store) -> None:
        key = f"{folder()}/empty.wav"

        stored = store.put(key, pieces(), content_type=WAV)

        assert stored == ObjectInfo(0, hashlib.sha256(b"").hexdigest())
        assert list(store.open(key)) == []

    def test_more_than_one_part_is_kept_whole(self, store: Store) -> None:
        key = f"{folder()}/long.wav"
        block = bytes(range(256)) * 4_001

        stored = store.put(key, pieces(*[block] * 20), content_type=WAV)

        assert stored.size_bytes == 20 * len(block)
        assert read_digest(store, key) == stored

    def test_put_again_replaces(self, store: Store) -> None:
        within = folder()

        store.put(f"{within}/a.wav", pieces(b"the longer one"), content_type=WAV)
        store.put(f"{within}/a.wav", pieces(b"short"), content_type=WAV)

        assert b"".join(store.open(f"{within}/a.wav")) == b"short"
        assert len(self.held(store, within)) == 1

    def test_a_source_that_fails_leaves_what_was_there(self, store: Store) -> None:
        within = folder()
        store.put(f"{within}/a.wav", pieces(b"whole"), content_type=WAV)

        def breaking() -> Iterator[bytes]:
            yield b"x" * 9_000_000
            raise LookupError("the carrier hung up")

        for name in ("a", "b"):
            with pytest.raises(LookupError, match="hung up"):
                store.put(f"{within}/{name}.wav", breaking(), content_type=WAV)

        assert b"".join(store.open(f"{within}/a.wav")) == b"whole"
        assert not store.exists(f"{within}/b.wav")
        assert len(self.held(store, within)) == 1

    def test_two_that_write_the_same_at_once_leave_one_of_them_whole(self, store: Store) -> None:
        key = f"{folder()}/a.wav"
        texts = [bytes([65 + number]) * 300_000 for number in range(4)]

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda it: store.put(key, pieces(it), content_type=WAV), texts))

        assert b"".join(store.open(key)) in texts

    @pytest.mark.parametrize("key", NOT_KEYS)
    def test_what_is_no_key_is_refused_by_everything(self, store: Store, key: str) -> None:
        for do in (
            lambda: store.put(key, pieces(b"x"), content_type=WAV),
            lambda: store.open(key),
            lambda: store.exists(key),
            lambda: store.delete(key),
            lambda: store.delete_all(key),
        ):
            with pytest.raises(StorageError) as raised:
                do()
            assert raised.value.permanent
            assert not isinstance(raised.value, ObjectNotFound)

    # --- open, exists ------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("start", "length", "read"),
        [
            (0, None, b"0123456789"),
            (0, 10, b"0123456789"),
            (0, 1, b"0"),
            (3, 4, b"3456"),
            (9, 1, b"9"),
            (4, None, b"456789"),
            (4, 0, b""),
        ],
    )
    def test_a_part_is_read(
        self, store: Store, start: int, length: int | None, read: bytes
    ) -> None:
        key = f"{folder()}/a.wav"
        store.put(key, pieces(b"0123456789"), content_type=WAV)

        assert b"".join(store.open(key, start=start, length=length)) == read

    def test_what_is_not_there_is_missing_before_it_is_read(self, store: Store) -> None:
        key = f"{folder()}/a.wav"

        with pytest.raises(ObjectNotFound):
            store.open(key)

        assert not store.exists(key)

    def test_what_is_there_exists(self, store: Store) -> None:
        within = folder()
        store.put(f"{within}/a/b.wav", pieces(b"x"), content_type=WAV)

        assert store.exists(f"{within}/a/b.wav")
        assert not store.exists(f"{within}/a")
        assert not store.exists(f"{within}/a/b")

    # --- delete, delete_all ------------------------------------------------------------------

    def test_one_is_deleted_and_no_other(self, store: Store) -> None:
        within = folder()
        for name in ("a", "b"):
            store.put(f"{within}/{name}.wav", pieces(b"x"), content_type=WAV)

        store.delete(f"{within}/a.wav")
        store.delete(f"{within}/a.wav")

        assert not store.exists(f"{within}/a.wav")
        assert store.exists(f"{within}/b.wav")

    def test_deleting_what_never_was_is_a_success(self, store: Store) -> None:
        store.delete(f"{folder()}/2026/11/a.wav")

        assert store.delete_all(folder()) == 0

    def test_a_folder_is_deleted_with_all_in_it_and_not_its_namesakes(self, store: Store) -> None:
        within = folder()
        inside = [f"{within}/a.wav", f"{within}/2026/11/b.wav", f"{within}/2026/12/c.wav"]
        beside = f"{within}0/a.wav"
        for key in (*inside, beside):
            store.put(key, pieces(b"x"), content_type=WAV)

        assert store.delete_all(within) == 3

        assert [key for key in inside if store.exists(key)] == []
        assert store.exists(beside)
        assert self.held(store, within) == []
        assert store.delete_all(within) == 0

    # --- keys --------------------------------------------------------------------------------

    def test_all_that_is_in_a_folder_is_listed_and_not_what_is_in_its_namesakes(
        self, store: Store
    ) -> None:
        within = folder()
        inside = {f"{within}/a.wav", f"{within}/2026/11/b.wav"}
        for key in (*inside, f"{within}0/a.wav"):
            store.put(key, pieces(b"x"), content_type=WAV)

        assert set(store.keys(within)) == inside
        assert list(store.keys(folder())) == []

    # --- Failures ----------------------------------------------------------------------------

    def test_a_store_that_is_away_is_a_storage_error_worth_another_try(self, away: Store) -> None:
        for do in (
            lambda: away.put("a/b.wav", pieces(b"x"), content_type=WAV),
            lambda: away.open("a/b.wav"),
            lambda: away.exists("a/b.wav"),
            lambda: away.delete("a/b.wav"),
            lambda: away.delete_all("a"),
            lambda: list(away.keys("a")),
        ):
            with pytest.raises(StorageError) as raised:
                do()
            assert not raised.value.permanent
