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

    def test_put_returns_the_size_and_digest_of_the_stored_object(self, store: Store) -> None:
        key = f"{new_folder()}/2026/11/a.wav"
        audio = bytes(range(256)) * 8

        stored = store.put(key, iterate(audio[:100], b"", audio[100:]), content_type=WAV)

        assert stored == ObjectInfo(len(audio), hashlib.sha256(audio).hexdigest())
        assert b"".join(store.open(key)) == audio
        assert read_digest(store, key) == stored

    def test_an_empty_object_can_be_stored(self, store: Store) -> None:
        key = f"{new_folder()}/empty.wav"

        stored = store.put(key, iterate(), content_type=WAV)

        assert stored == ObjectInfo(0, hashlib.sha256(b"").hexdigest())
        assert list(store.open(key)) == []

    def test_an_object_of_several_parts_is_stored_completely(self, store: Store) -> None:
        key = f"{new_folder()}/long.wav"
        block = bytes(range(256)) * 4_001

        stored = store.put(key, iterate(*[block] * 20), content_type=WAV)

        assert stored.size_bytes == 20 * len(block)
        assert read_digest(store, key) == stored

    def test_a_second_put_replaces_the_object(self, store: Store) -> None:
        folder = new_folder()

        store.put(f"{folder}/a.wav", iterate(b"the longer one"), content_type=WAV)
        store.put(f"{folder}/a.wav", iterate(b"short"), content_type=WAV)

        assert b"".join(store.open(f"{folder}/a.wav")) == b"short"
        assert len(self.stored_names(store, folder)) == 1

    def test_a_failing_source_leaves_the_stored_object_unchanged(self, store: Store) -> None:
        folder = new_folder()
        store.put(f"{folder}/a.wav", iterate(b"whole"), content_type=WAV)

        def failing_chunks() -> Iterator[bytes]:
            yield b"x" * 9_000_000
            raise LookupError("the carrier hung up")

        for name in ("a", "b"):
            with pytest.raises(LookupError, match="hung up"):
                store.put(f"{folder}/{name}.wav", failing_chunks(), content_type=WAV)

        assert b"".join(store.open(f"{folder}/a.wav")) == b"whole"
        assert not store.exists(f"{folder}/b.wav")
        assert len(self.stored_names(store, folder)) == 1

    def test_concurrent_puts_of_one_key_leave_one_complete_object(self, store: Store) -> None:
        key = f"{new_folder()}/a.wav"
        texts = [bytes([65 + number]) * 300_000 for number in range(4)]

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda text: store.put(key, iterate(text), content_type=WAV), texts))

        assert b"".join(store.open(key)) in texts

    @pytest.mark.parametrize("key", INVALID_KEYS)
    def test_every_operation_rejects_an_invalid_key(self, store: Store, key: str) -> None:
        for operation in (
            lambda: store.put(key, iterate(b"x"), content_type=WAV),
            lambda: store.open(key),
            lambda: store.exists(key),
            lambda: store.delete(key),
            lambda: store.delete_all(key),
        ):
            with pytest.raises(StorageError) as error_info:
                operation()
            assert error_info.value.permanent
            assert not isinstance(error_info.value, ObjectNotFound)

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
    def test_a_range_of_an_object_is_read(
        self, store: Store, start: int, length: int | None, expected: bytes
    ) -> None:
        key = f"{new_folder()}/a.wav"
        store.put(key, iterate(b"0123456789"), content_type=WAV)

        assert b"".join(store.open(key, start=start, length=length)) == expected

    def test_open_raises_not_found_for_a_missing_object(self, store: Store) -> None:
        key = f"{new_folder()}/a.wav"

        with pytest.raises(ObjectNotFound):
            store.open(key)

        assert not store.exists(key)

    def test_exists_is_true_only_for_objects(self, store: Store) -> None:
        folder = new_folder()
        store.put(f"{folder}/a/b.wav", iterate(b"x"), content_type=WAV)

        assert store.exists(f"{folder}/a/b.wav")
        assert not store.exists(f"{folder}/a")
        assert not store.exists(f"{folder}/a/b")

    # delete, delete_all

    def test_delete_removes_only_the_object_of_the_key(self, store: Store) -> None:
        folder = new_folder()
        for name in ("a", "b"):
            store.put(f"{folder}/{name}.wav", iterate(b"x"), content_type=WAV)

        store.delete(f"{folder}/a.wav")
        store.delete(f"{folder}/a.wav")

        assert not store.exists(f"{folder}/a.wav")
        assert store.exists(f"{folder}/b.wav")

    def test_deleting_a_missing_object_or_folder_succeeds(self, store: Store) -> None:
        store.delete(f"{new_folder()}/2026/11/a.wav")

        assert store.delete_all(new_folder()) == 0

    def test_delete_all_removes_a_folder_but_no_folder_with_the_same_prefix(
        self, store: Store
    ) -> None:
        folder = new_folder()
        folder_keys = [f"{folder}/a.wav", f"{folder}/2026/11/b.wav", f"{folder}/2026/12/c.wav"]
        same_prefix_key = f"{folder}0/a.wav"
        for key in (*folder_keys, same_prefix_key):
            store.put(key, iterate(b"x"), content_type=WAV)

        assert store.delete_all(folder) == 3

        assert [key for key in folder_keys if store.exists(key)] == []
        assert store.exists(same_prefix_key)
        assert self.stored_names(store, folder) == []
        assert store.delete_all(folder) == 0

    # keys

    def test_keys_lists_a_folder_but_no_folder_with_the_same_prefix(self, store: Store) -> None:
        folder = new_folder()
        folder_keys = {f"{folder}/a.wav", f"{folder}/2026/11/b.wav"}
        for key in (*folder_keys, f"{folder}0/a.wav"):
            store.put(key, iterate(b"x"), content_type=WAV)

        assert set(store.keys(folder)) == folder_keys
        assert list(store.keys(new_folder())) == []

    # failures

    def test_an_unavailable_store_raises_a_retryable_storage_error(
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
            with pytest.raises(StorageError) as error_info:
                operation()
            assert not error_info.value.permanent
