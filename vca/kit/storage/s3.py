"""A bucket of S3, or of a server that speaks its protocol. Credentials: boto3's own chain."""

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

from vca.kit.storage.store import (
    CHUNK,
    Digest,
    Missing,
    Opened,
    StorageError,
    Store,
    Stored,
    checked_folder,
    checked_key,
)

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 10
_ATTEMPTS = 2
_PART = 8 * 1024 * 1024
# In this thread: a recording is written by a job, which has its own.
_TRANSFER = TransferConfig(
    multipart_threshold=_PART, multipart_chunksize=_PART, io_chunksize=CHUNK, use_threads=False
)
_NOT_THERE = ("404", "NoSuchKey", "NotFound")
# What no repetition and no operator mends: the request itself is wrong.
_HOPELESS = ("EntityTooLarge", "InvalidRequest", "KeyTooLongError", "InvalidArgument")


class S3Store(Store):
    """Objects in one bucket under `prefix`. The client is made when it is first needed."""

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
        self._where = {"endpoint_url": endpoint_url, "region_name": region}
        self._presign = presign
        self._read_timeout_s = read_timeout_s
        self._made: Any = None
        self._making = threading.Lock()

    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> Stored:
        read = Digest(chunks)
        with _failing("writing failed"):
            self._client.upload_fileobj(
                _Pulled(read),
                self._bucket,
                self._name(key),
                ExtraArgs={"ContentType": content_type},
                Config=_TRANSFER,
            )
        return read.stored

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Opened:
        wanted = {**self._object(key)}
        if length == 0:  # no Range can say that
            if not self.exists(key):
                raise Missing
            return Opened(BytesIO(), 0, ())
        if start or length is not None:
            last = "" if length is None else start + length - 1
            wanted["Range"] = f"bytes={start}-{last}"
        with _failing("reading failed"):
            found = self._client.get_object(**wanted)
        return Opened(found["Body"], length, (BotoCoreError, HTTPClientError, OSError))

    def exists(self, key: str) -> bool:
        try:
            with _failing("looking failed"):
                self._client.head_object(**self._object(key))
        except Missing:
            return False
        return True

    def delete(self, key: str) -> None:
        with _failing("deleting failed"):
            self._client.delete_object(**self._object(key))

    def delete_all(self, folder: str) -> int:
        prefix = f"{self._prefix}{checked_folder(folder)}/"
        deleted = 0
        with _failing("deleting failed"):
            for page in self._pages("list_objects_v2", prefix):
                deleted += self._delete_page([one["Key"] for one in page.get("Contents", ())])
            for page in self._pages("list_multipart_uploads", prefix):
                for one in page.get("Uploads", ()):  # a process died while it wrote
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"]
                    )
        return deleted

    def keys(self, folder: str) -> Iterator[str]:
        prefix = f"{self._prefix}{checked_folder(folder)}/"
        with _failing("looking failed"):
            for page in self._pages("list_objects_v2", prefix):
                for one in page.get("Contents", ()):
                    yield one["Key"].removeprefix(self._prefix)

    def link(self, key: str, *, content_type: str, valid_s: int) -> str | None:
        if not self._presign:
            return None
        asked = {**self._object(key), "ResponseContentType": content_type}
        with _failing("signing failed"):
            url: str = self._client.generate_presigned_url("get_object", asked, valid_s)
        return url

    @property
    def _client(self) -> Any:
        """Making one is slow and not safe between threads; using one is."""
        with self._making:
            if self._made is None:
                config = Config(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=self._read_timeout_s,
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    signature_version="s3v4",
                    # Compatible servers do not all know the checksums that are sent by default.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                with _failing("the store cannot be used"):
                    self._made = boto3.session.Session().client("s3", config=config, **self._where)
            return self._made

    def _pages(self, operation: str, prefix: str) -> Iterator[dict[str, Any]]:
        pages: Iterator[dict[str, Any]] = iter(
            self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=prefix)
        )
        return pages

    def _delete_page(self, names: list[str]) -> int:
        if not names:
            return 0
        wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        answer = self._client.delete_objects(Bucket=self._bucket, Delete=wanted)
        if answer.get("Errors"):
            raise StorageError("some could not be deleted", permanent=False)
        return len(names)

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._name(key)}

    def _name(self, key: str) -> str:
        return f"{self._prefix}{checked_key(key)}"


class _Pulled:
    """Chunks as the file that boto3 wants to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._kept = bytearray()

    def read(self, amount: int = -1) -> bytes:
        while amount < 0 or len(self._kept) < amount:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._kept += chunk
        end = len(self._kept) if amount < 0 else amount
        taken = bytes(self._kept[:end])
        del self._kept[:end]
        return taken


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Whatever boto3 raises becomes a StorageError, without the names and keys in its text."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NOT_THERE:
            raise Missing from error
        raise StorageError(f"{what}: {code}", permanent=code in _HOPELESS) from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageError(f"{what}: {type(error).__name__}", permanent=False) from error
