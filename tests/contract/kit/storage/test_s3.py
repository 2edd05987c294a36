"""A bucket as the store, against a server of S3 on loopback."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract.suites.storage import WAV, StoreContract, iterate, new_folder
from tests.support.s3_server import BUCKET, CREDENTIALS, add_empty_objects, s3_server
from vca.kit.storage import StorageError, Store
from vca.kit.storage.s3 import S3Store


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server of S3 with one bucket."""
    with s3_server() as url:
        yield url


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


def _store(endpoint: str, **options: Any) -> S3Store:
    return S3Store(BUCKET, endpoint_url=endpoint, region="eu-west-1", **options)


@pytest.fixture(scope="module")
def shared_store(endpoint: str) -> Store:
    """One for all: a client takes longer to make than most tests."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in CREDENTIALS.items():
            patched.setenv(name, value)
        return _store(endpoint, prefix="kept/here")


class TestS3Store(StoreContract):
    store_class = S3Store

    @pytest.fixture
    def store(self, shared_store: Store) -> Store:
        return shared_store

    @pytest.fixture
    def unavailable_store(self) -> Store:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            return _store(f"http://127.0.0.1:{closed.getsockname()[1]}")

    def stored_names(self, store: Store, folder: str) -> list[str]:
        assert isinstance(store, S3Store)
        prefix = f"kept/here/{folder}/"
        whole = store._client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
        parts = store._client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for one in (*whole, *parts.get("Uploads", ()))]


def test_the_prefix_is_in_front_of_every_key(endpoint: str) -> None:
    within = new_folder()
    _store(endpoint, prefix="one").put(f"{within}/a.wav", iterate(b"x"), content_type=WAV)

    assert not _store(endpoint, prefix="two").exists(f"{within}/a.wav")
    assert _store(endpoint).exists(f"one/{within}/a.wav")


def test_more_objects_than_one_page_holds_are_deleted(endpoint: str) -> None:
    store, within = _store(endpoint), new_folder()
    add_empty_objects(f"{within}/{number}.wav" for number in range(1_003))
    assert store.exists(f"{within}/1002.wav")

    assert store.delete_all(within) == 1_003

    assert store.delete_all(within) == 0


def test_an_upload_that_nobody_finished_goes_with_its_folder(endpoint: str) -> None:
    store, within = _store(endpoint), new_folder()
    store._client.create_multipart_upload(Bucket=BUCKET, Key=f"{within}/a.wav")

    store.delete_all(within)

    left = store._client.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{within}/")
    assert left.get("Uploads", []) == []


def test_a_link_opens_one_object_and_says_what_it_is(endpoint: str) -> None:
    store = _store(endpoint, presign=True)
    key = f"{new_folder()}/a.wav"
    store.put(key, iterate(b"audio"), content_type=WAV)

    link = store.presigned_url(key, content_type="audio/mpeg", valid_s=300)

    assert link is not None
    said = urlsplit(link)
    assert "X-Amz-Expires=300" in said.query
    assert "X-Amz-Signature=" in said.query
    head, body = _get(said.hostname, said.port, f"{said.path}?{said.query}")
    assert b"audio/mpeg" in head
    assert body == b"audio"
    assert _store(endpoint).presigned_url(key, content_type=WAV, valid_s=300) is None


def test_a_bucket_that_is_not_there_is_worth_another_try_once_it_is(endpoint: str) -> None:
    store = S3Store("no-such-bucket", endpoint_url=endpoint, region="eu-west-1")

    with pytest.raises(StorageError, match="NoSuchBucket") as raised:
        store.put("a/b.wav", iterate(b"x"), content_type=WAV)

    assert not raised.value.permanent


def test_a_server_that_hangs_is_given_up() -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = _store(url, read_timeout_s=0.2)

        def ask() -> None:
            with pytest.raises(StorageError):
                store.exists("a/b.wav")
            done.set()

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()

        assert done.wait(30)


def _get(host: str | None, port: int | None, target: str) -> tuple[bytes, bytes]:
    with socket.create_connection((host or "", port or 80), timeout=10) as line:
        line.sendall(f"GET {target} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body
