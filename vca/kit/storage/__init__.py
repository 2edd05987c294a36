"""Storage for files that are too large for a table: one contract, two stores, a folder or a bucket.

`store` is the contract; `folder` and `s3` implement it. boto3 is imported on first use, because it
is slow to load. To add a store: a module in this package, a scheme in `open_store`, a subclass of
the contract suite (`tests/contract/suites/storage.py`), and its settings in `.env.example`.
"""

from pathlib import Path

from vca.kit.storage.store import (
    ObjectInfo,
    ObjectNotFound,
    ObjectReader,
    StorageError,
    Store,
    in_folder,
    is_key,
    read_digest,
)

__all__ = [
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectReader",
    "StorageError",
    "Store",
    "current_store",
    "in_folder",
    "is_key",
    "open_store",
    "read_digest",
    "set_current_store",
]


def open_store(
    location: str,
    *,
    root: Path,
    endpoint_url: str | None = None,
    region: str | None = None,
    presign: bool = False,
) -> Store:
    """Create the store at `location`, `folder:<path>` or `s3://<bucket>/<prefix>`, unconnected.

    A relative folder is below `root`. The other options are for S3.
    """
    scheme, _, place = location.partition(":")
    if scheme == "folder":
        from vca.kit.storage.folder import FolderStore

        return FolderStore((root / place).resolve())
    from vca.kit.storage.s3 import S3Store

    bucket, _, prefix = place.removeprefix("//").partition("/")
    return S3Store(
        bucket,
        prefix=prefix.strip("/"),
        endpoint_url=endpoint_url,
        region=region,
        presign=presign,
    )
