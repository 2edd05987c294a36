"""Files too large for a table: one contract, two places to keep them, a folder or a bucket.

`store` is the contract, `folder` and `s3` keep it; the bucket's library is imported on first use,
it is slow to load. To add a place: a module here, a scheme in `opened`, a subclass of the contract
suite (`tests/contracts/storage.py`), its settings in `.env.example`.
"""

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
from vca.settings import ROOT, Settings

__all__ = [
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectReader",
    "StorageError",
    "Store",
    "current_store",
    "in_folder",
    "is_key",
    "read_digest",
    "set_current_store",
    "store_from_settings",
]


def store_from_settings(settings: Settings) -> Store:
    """The store of `RECORDING_STORE`; nothing is asked of it yet."""
    scheme, _, location = settings.recording_store.partition(":")
    if scheme == "folder":
        from vca.kit.storage.folder import FolderStore

        return FolderStore((ROOT / location).resolve())
    from vca.kit.storage.s3 import S3Store

    bucket, _, prefix = location.removeprefix("//").partition("/")
    return S3Store(
        bucket,
        prefix=prefix.strip("/"),
        endpoint_url=settings.s3_endpoint_url or None,
        region=settings.s3_region or None,
        presign=settings.s3_presign,
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
