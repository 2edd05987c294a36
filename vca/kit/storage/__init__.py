"""Files too large for a table: one contract, two places to keep them, a folder or a bucket.

`store` is the contract, `folder` and `s3` keep it; the bucket's library is imported on first use,
it is slow to load. To add a place: a module here, a scheme in `opened`, a subclass of the contract
suite (`tests/contract/suites/storage.py`), its settings in `.env.example`.
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
    """Return the store at `location`, `folder:<path>` or `s3://<bucket>/<prefix>`, unconnected.

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


_current_store: Store | None = None


def set_current_store(store: Store) -> Store:
    """Make this the process's store; returns it."""
    global _current_store
    _current_store = store
    return store


def current_store() -> Store:
    """The process's store; raises RuntimeError before `use`."""
    if _current_store is None:
        raise RuntimeError("no store is configured in this process")
    return _current_store
