"""The contract suite of stores, in the order of `vca.kit.storage.store`.

A subclass provides the store, and lists its contents without using the store.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import ClassVar

import pytest

from vca.kit.storage import ObjectInfo, ObjectNotFound, StorageError, Store, read_digest

WAV = "audio/wav"
INVALID_KEYS = (
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


def new_folder() -> str:
    """Return a folder that no test of this process has used."""
    return f"{next(_folders):032x}"


def iterate(*chunks: bytes) -> Iterator[bytes]:
    """Yield chunks that can be read once."""
    yield from chunks


class StoreContract:
    """Subclass it and provide the fixtures and methods above the first test."""

    store_class: ClassVar[type[Store]]

    @pytest.fixture
    def store(self) -> Store:
        """Return a store that works."""
        raise NotImplementedError

    @pytest.fixture
    def unavailable_store(self) -> Store:
        """Return a store that does not respond or whose location does not exist."""
        raise NotImplementedError

    def stored_names(self, store: Store, folder: str) -> list[str]:
        """Return everything that the location contains in a folder, unfinished objects included."""
        raise NotImplementedError

    # put

    def test_what_is_put_is_kept_with_its_size_and_digest(self, store: Store) -> None:
        key = f"{new_folder()}/2026/11/a.wav"
        audio = bytes(range(256)) * 8

        stored = store.put(key, iterate(audio[:100], b"", audio[100:]), content_type=WAV)

        assert stored == ObjectInfo(len(audio), hashlib.sha256(audio).hexdigest())
        assert b"".join(store.open(key)) == audio
        assert read_digest(store, key) == stored

    def test_nothing_can_be_kept_too(self, store: Store) -> None:
        key = f"{new_folder()}/empty.wav"

        stored = store.put(key, iterate(), content_type=WAV)

        assert stored == ObjectInfo(0, hashlib.sha256(b"").hexdigest())
        assert list(store.open(key)) == []

    def test_more_than_one_part_is_kept_whole(self, store: Store) -> None:
        key = f"{new_folder()}/long.wav"
        block = bytes(range(256)) * 4_001

        stored = store.put(key, iterate(*[block] * 20), content_type=WAV)

        assert stored.size_bytes == 20 * len(block)
        assert read_digest(store, key) == stored

    def test_put_again_replaces(self, store: Store) -> None:
        folder = new_folder()

        store.put(f"{folder}/a.wav", iterate(b"the longer one"), content_type=WAV)
        store.put(f"{folder}/a.wav", iterate(b"short"), content_type=WAV)

        assert b"".join(store.open(f"{folder}/a.wav")) == b"short"
        assert len(self.stored_names(store, folder)) == 1

    def test_a_source_that_fails_leaves_what_was_there(self, store: Store) -> None:
        folder = new_folder()
        store.put(f"{folder}/a.wav", iterate(b"whole"), content_type=WAV)

        def breaking() -> Iterator[bytes]:
            yield b"x" * 9_000_000
            raise LookupError("the carrier hung up")

        for name in ("a", "b"):
            with pytest.raises(LookupError, match="hung up"):
                store.put(f"{folder}/{name}.wav", breaking(), content_type=WAV)

        assert b"".join(store.open(f"{folder}/a.wav")) == b"whole"
        assert not store.exists(f"{folder}/b.wav")
        assert len(self.stored_names(store, folder)) == 1

    def test_two_that_write_the_same_at_once_leave_one_of_them_whole(self, store: Store) -> None:
        key = f"{new_folder()}/a.wav"
        texts = [bytes([65 + number]) * 300_000 for number in range(4)]

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda it: store.put(key, iterate(it), content_type=WAV), texts))

        assert b"".join(store.open(key)) in texts

    @pytest.mark.parametrize("key", INVALID_KEYS)
    def test_what_is_no_key_is_refused_by_everything(self, store: Store, key: str) -> None:
        for operation in (
            lambda: store.put(key, iterate(b"x"), content_type=WAV),
            lambda: store.open(key),
            lambda: store.exists(key),
            lambda: store.delete(key),
            lambda: store.delete_all(key),
        ):
            with pytest.raises(StorageError) as raised:
                operation()
            assert raised.value.permanent
            assert not isinstance(raised.value, ObjectNotFound)

    # open, exists

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
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
        self, store: Store, start: int, length: int | None, expected: bytes
    ) -> None:
        key = f"{new_folder()}/a.wav"
        store.put(key, iterate(b"0123456789"), content_type=WAV)

        assert b"".join(store.open(key, start=start, length=length)) == expected

    def test_what_is_not_there_is_missing_before_it_is_read(self, store: Store) -> None:
        key = f"{new_folder()}/a.wav"

        with pytest.raises(ObjectNotFound):
            store.open(key)

        assert not store.exists(key)

    def test_what_is_there_exists(self, store: Store) -> None:
        folder = new_folder()
        store.put(f"{folder}/a/b.wav", iterate(b"x"), content_type=WAV)

        assert store.exists(f"{folder}/a/b.wav")
        assert not store.exists(f"{folder}/a")
        assert not store.exists(f"{folder}/a/b")

    # delete, delete_all

    def test_one_is_deleted_and_no_other(self, store: Store) -> None:
        folder = new_folder()
        for name in ("a", "b"):
            store.put(f"{folder}/{name}.wav", iterate(b"x"), content_type=WAV)

        store.delete(f"{folder}/a.wav")
        store.delete(f"{folder}/a.wav")

        assert not store.exists(f"{folder}/a.wav")
        assert store.exists(f"{folder}/b.wav")

    def test_deleting_what_never_was_is_a_success(self, store: Store) -> None:
        store.delete(f"{new_folder()}/2026/11/a.wav")

        assert store.delete_all(new_folder()) == 0

    def test_a_folder_is_deleted_with_all_in_it_and_not_its_namesakes(self, store: Store) -> None:
        folder = new_folder()
        folder_keys = [f"{folder}/a.wav", f"{folder}/2026/11/b.wav", f"{folder}/2026/12/c.wav"]
        namesake_key = f"{folder}0/a.wav"
        for key in (*folder_keys, namesake_key):
            store.put(key, iterate(b"x"), content_type=WAV)

        assert store.delete_all(folder) == 3

        assert [key for key in folder_keys if store.exists(key)] == []
        assert store.exists(namesake_key)
        assert self.stored_names(store, folder) == []
        assert store.delete_all(folder) == 0

    # keys

    def test_all_that_is_in_a_folder_is_listed_and_not_what_is_in_its_namesakes(
        self, store: Store
    ) -> None:
        folder = new_folder()
        folder_keys = {f"{folder}/a.wav", f"{folder}/2026/11/b.wav"}
        for key in (*folder_keys, f"{folder}0/a.wav"):
            store.put(key, iterate(b"x"), content_type=WAV)

        assert set(store.keys(folder)) == folder_keys
        assert list(store.keys(new_folder())) == []

    # Failures

    def test_a_store_that_is_away_is_a_storage_error_worth_another_try(
        self, unavailable_store: Store
    ) -> None:
        for operation in (
            lambda: unavailable_store.put("a/b.wav", iterate(b"x"), content_type=WAV),
            lambda: unavailable_store.open("a/b.wav"),
            lambda: unavailable_store.exists("a/b.wav"),
            lambda: unavailable_store.delete("a/b.wav"),
            lambda: unavailable_store.delete_all("a"),
            lambda: list(unavailable_store.keys("a")),
        ):
            with pytest.raises(StorageError) as raised:
                operation()
            assert not raised.value.permanent
