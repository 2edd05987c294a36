"""Storage in an S3 bucket or a compatible server; credentials come from boto3's default chain."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from typing_extensions import override

from vca.kit.storage.store import (
    CHUNK_BYTES,
    Digest,
    ObjectInfo,
    ObjectNotFound,
    ObjectReader,
    StorageError,
    Store,
    require_folder,
    require_key,
)

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 10
_ATTEMPTS = 2
_PART_BYTES = 8 * 1024 * 1024
# Without boto3's threads: recordings are written by jobs, which have threads of their own.
_TRANSFER = TransferConfig(
    multipart_threshold=_PART_BYTES,
    multipart_chunksize=_PART_BYTES,
    io_chunksize=CHUNK_BYTES,
    use_threads=False,
)
_NOT_FOUND_CODES = ("404", "NoSuchKey", "NotFound")
# Neither a retry nor an operator can fix these: the request itself is invalid.
_PERMANENT_CODES = ("EntityTooLarge", "InvalidRequest", "KeyTooLongError", "InvalidArgument")


class S3Store(Store):
    """Objects in one bucket under `prefix`. The client is created on first use."""

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint_url: str | None = None,
        region: str | None = None,
        presign: bool = False,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client_options = {"endpoint_url": endpoint_url, "region_name": region}
        self._presign = presign
        self._read_timeout_s = read_timeout_s
        self._boto_client: Any = None
        self._client_lock = threading.Lock()

    @override
    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> ObjectInfo:
        digest = Digest(chunks)
        with _translate_errors("writing failed"):
            self._client.upload_fileobj(
                _ChunkFile(digest),
                self._bucket,
                self._object_name(key),
                ExtraArgs={"ContentType": content_type},
                Config=_TRANSFER,
            )
        return digest.info

    @override
    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        arguments = {**self._object_arguments(key)}
        if length == 0:  # a Range header cannot express it
            if not self.exists(key):
                raise ObjectNotFound
            return ObjectReader(BytesIO(), 0, ())
        if start or length is not None:
            last = "" if length is None else start + length - 1
            arguments["Range"] = f"bytes={start}-{last}"
        with _translate_errors("reading failed"):
            response = self._client.get_object(**arguments)
        return ObjectReader(response["Body"], length, (BotoCoreError, HTTPClientError, OSError))

    @override
    def exists(self, key: str) -> bool:
        try:
            with _translate_errors("lookup failed"):
                self._client.head_object(**self._object_arguments(key))
        except ObjectNotFound:
            return False
        return True

    @override
    def delete(self, key: str) -> None:
        with _translate_errors("deleting failed"):
            self._client.delete_object(**self._object_arguments(key))

    @override
    def delete_all(self, folder: str) -> int:
        prefix = f"{self._prefix}{require_folder(folder)}/"
        deleted = 0
        with _translate_errors("deleting failed"):
            for page in self._pages("list_objects_v2", prefix):
                deleted += self._delete_page([item["Key"] for item in page.get("Contents", ())])
            for page in self._pages("list_multipart_uploads", prefix):
                for item in page.get("Uploads", ()):  # left by a process that died while writing
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=item["Key"], UploadId=item["UploadId"]
                    )
        return deleted

    @override
    def keys(self, folder: str) -> Iterator[str]:
        prefix = f"{self._prefix}{require_folder(folder)}/"
        with _translate_errors("lookup failed"):
            for page in self._pages("list_objects_v2", prefix):
                for item in page.get("Contents", ()):
                    yield item["Key"].removeprefix(self._prefix)

    @override
    def presigned_url(self, key: str, *, content_type: str, valid_s: int) -> str | None:
        if not self._presign:
            return None
        arguments = {**self._object_arguments(key), "ResponseContentType": content_type}
        with _translate_errors("signing failed"):
            url: str = self._client.generate_presigned_url("get_object", arguments, valid_s)
        return url

    @property
    def _client(self) -> Any:
        """Return the client. Creating it is slow and not thread-safe; using it is thread-safe."""
        with self._client_lock:
            if self._boto_client is None:
                config = Config(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=self._read_timeout_s,
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    signature_version="s3v4",
                    # Not every compatible server supports the checksums that boto3 sends by
                    # default.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                with _translate_errors("the client could not be created"):
                    self._boto_client = boto3.session.Session().client(
                        "s3", config=config, **self._client_options
                    )
            return self._boto_client

    def _pages(self, operation: str, prefix: str) -> Iterator[dict[str, Any]]:
        pages: Iterator[dict[str, Any]] = iter(
            self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=prefix)
        )
        return pages

    def _delete_page(self, names: list[str]) -> int:
        if not names:
            return 0
        request = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        response = self._client.delete_objects(Bucket=self._bucket, Delete=request)
        if response.get("Errors"):
            raise StorageError("some objects could not be deleted", permanent=False)
        return len(names)

    def _object_arguments(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._object_name(key)}

    def _object_name(self, key: str) -> str:
        return f"{self._prefix}{require_key(key)}"


class _ChunkFile:
    """Adapts an iterator of chunks to the file object that boto3 reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()

    def read(self, amount: int = -1) -> bytes:
        while amount < 0 or len(self._buffer) < amount:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._buffer += chunk
        end = len(self._buffer) if amount < 0 else amount
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        return data


@contextmanager
def _translate_errors(message: str) -> Iterator[None]:
    """Turn boto3's errors into StorageError, without names and keys in the message."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NOT_FOUND_CODES:
            raise ObjectNotFound from error
        raise StorageError(f"{message}: {code}", permanent=code in _PERMANENT_CODES) from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageError(f"{message}: {type(error).__name__}", permanent=False) from error
