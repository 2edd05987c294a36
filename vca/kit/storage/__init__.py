"""Files too large for a table: one contract, two places to keep them, a folder or a bucket.

`store` is the contract, `folder` and `s3` keep it; the bucket's library is imported on first use,
it is slow to load. To add a place: a module here, a scheme in `opened`, a subclass of the contract
suite (`tests/contracts/storage.py`), its settings in `.env.example`.
"""

from vca.kit.config import ROOT, Settings
from vca.kit.storage.store import (
    Missing,
    Opened,
    StorageError,
    Store,
    Stored,
    digest,
    in_folder,
    is_key,
)

__all__ = [
    "Missing",
    "Opened",
    "StorageError",
    "Store",
    "Stored",
    "current",
    "digest",
    "in_folder",
    "is_key",
    "opened",
    "use",
]


def opened(settings: Settings) -> Store:
    """The store of `RECORDING_STORE`; nothing is asked of it yet."""
    scheme, _, where = settings.recording_store.partition(":")
    if scheme == "folder":
        from vca.kit.storage.folder import FolderStore

        return FolderStore((ROOT / where).resolve())
    from vca.kit.storage.s3 import S3Store

    bucket, _, prefix = where.removeprefix("//").partition("/")
    return S3Store(
        bucket,
        prefix=prefix.strip("/"),
        endpoint_url=settings.s3_endpoint_url or None,
        region=settings.s3_region or None,
        presign=settings.s3_presign,
    )


_current: Store | None = None


def use(store: Store) -> Store:
    """Make this the process's store; returns it."""
    global _current
    _current = store
    return store


def current() -> Store:
    """The process's store; raises RuntimeError before `use`."""
    if _current is None:
        raise RuntimeError("no store is configured in this process")
    return _current
