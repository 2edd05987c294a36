"""The S3 store, against an S3 server on loopback."""

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
    """Return the URL of an S3 server with one bucket."""
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
    """Return one store for the whole contract, because creating a client is slow."""
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
        objects = store._client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
        uploads = store._client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in (*objects, *uploads.get("Uploads", ()))]


def test_the_prefix_precedes_every_key(endpoint: str) -> None:
    folder = new_folder()
    _store(endpoint, prefix="one").put(f"{folder}/a.wav", iterate(b"x"), content_type=WAV)

    assert not _store(endpoint, prefix="two").exists(f"{folder}/a.wav")
    assert _store(endpoint).exists(f"one/{folder}/a.wav")


def test_delete_all_removes_more_objects_than_fit_on_one_page(endpoint: str) -> None:
    store, folder = _store(endpoint), new_folder()
    add_empty_objects(f"{folder}/{number}.wav" for number in range(1_003))
    assert store.exists(f"{folder}/1002.wav")

    assert store.delete_all(folder) == 1_003

    assert store.delete_all(folder) == 0


def test_an_unfinished_upload_is_deleted_with_its_folder(endpoint: str) -> None:
    store, folder = _store(endpoint), new_folder()
    store._client.create_multipart_upload(Bucket=BUCKET, Key=f"{folder}/a.wav")

    store.delete_all(folder)

    remaining = store._client.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{folder}/")
    assert remaining.get("Uploads", []) == []


def test_a_presigned_url_returns_one_object_with_its_content_type(endpoint: str) -> None:
    store = _store(endpoint, presign=True)
    key = f"{new_folder()}/a.wav"
    store.put(key, iterate(b"audio"), content_type=WAV)

    url = store.presigned_url(key, content_type="audio/mpeg", valid_s=300)

    assert url is not None
    url_parts = urlsplit(url)
    assert "X-Amz-Expires=300" in url_parts.query
    assert "X-Amz-Signature=" in url_parts.query
    head, body = _get(url_parts.hostname, url_parts.port, f"{url_parts.path}?{url_parts.query}")
    assert b"audio/mpeg" in head
    assert body == b"audio"
    assert _store(endpoint).presigned_url(key, content_type=WAV, valid_s=300) is None


def test_a_missing_bucket_is_a_retryable_error(endpoint: str) -> None:
    store = S3Store("no-such-bucket", endpoint_url=endpoint, region="eu-west-1")

    with pytest.raises(StorageError, match="NoSuchBucket") as error_info:
        store.put("a/b.wav", iterate(b"x"), content_type=WAV)

    assert not error_info.value.permanent


def test_a_request_to_a_hanging_server_times_out() -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = _store(url, read_timeout_s=0.2)

        def check_exists() -> None:
            with pytest.raises(StorageError):
                store.exists("a/b.wav")
            done.set()

        request_thread = threading.Thread(target=check_exists, daemon=True)
        request_thread.start()

        assert done.wait(30)


def _get(host: str | None, port: int | None, path: str) -> tuple[bytes, bytes]:
    with socket.create_connection((host or "", port or 80), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        response = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = response.partition(b"\r\n\r\n")
    return head, body
