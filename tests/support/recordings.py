"""Create recordings of a tenant as calls do, and read them from table and store."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from vca.kit.storage import ObjectInfo, ObjectReader, StorageError, Store
from vca.kit.storage.folder import FolderStore
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session
from vca.tenant.recordings import service
from vca.tenant.recordings.models import Recording

AUDIO = bytes(range(256)) * 400


def expect_recording(
    tenant: Tenant, *, call_id: UUID | None = None, **recording_fields: Any
) -> UUID:
    """Expect a recording and return the call's id, which is the carrier's id of the call too."""
    call_id = call_id or uuid4()
    fields = {
        "kind": "call",
        "provider_type": "fake",
        "provider_call_id": str(call_id),
        **recording_fields,
    }
    with tenant_session(tenant.ref, database=app_services().database) as session:
        service.create_pending(session, call_id=call_id, **fields)
    return call_id


def store_recording(
    tenant: Tenant,
    world: Factory,
    carrier: FakeTelephonyAdapter,
    *,
    audio: bytes = AUDIO,
    content_type: str = "audio/wav",
    **recording_fields: Any,
) -> UUID:
    """Create a recording that the job has fetched; return the call's id."""
    call_id = expect_recording(tenant, **recording_fields)
    carrier.add_recording(str(call_id), audio, content_type)
    world.run_jobs(tenant)
    assert get_recording(tenant, call_id).status == "stored"
    return call_id


def get_recording(tenant: Tenant, call_id: UUID) -> Recording:
    """Return the row of the call's only recording."""
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return session.scalars(select(Recording).filter_by(call_id=call_id)).one()


def stored_files(tenant: Tenant) -> list[Path]:
    """Return the tenant's files in the store, unfinished ones included."""
    store = app_services().store
    store = store.inner if isinstance(store, FailingStore) else store
    assert isinstance(store, FolderStore)
    return sorted(path for path in (store._root / tenant.ref.id.hex).rglob("*") if path.is_file())


class ProcessKilled(BaseException):
    """Raised where a test simulates the death of the process."""


class FailingStore(Store):
    """A store that fails or corrupts on demand and counts open transactions of each operation."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.failure: StorageError | None = None
        self.corrupt_reads = False
        self.open_transactions: list[int] = []

    def _record_call(self) -> None:
        self.open_transactions.append(checked_out_connections())
        if self.failure is not None:
            raise self.failure

    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> ObjectInfo:
        self._record_call()
        return self.inner.put(key, chunks, content_type=content_type)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        self._record_call()
        return self.inner.open(key, start=start + self.corrupt_reads, length=length)

    def exists(self, key: str) -> bool:
        self._record_call()
        return self.inner.exists(key)

    def delete(self, key: str) -> None:
        self._record_call()
        self.inner.delete(key)

    def delete_all(self, folder: str) -> int:
        self._record_call()
        return self.inner.delete_all(folder)

    def keys(self, folder: str) -> Iterator[str]:
        self._record_call()
        return self.inner.keys(folder)


def checked_out_connections() -> int:
    """Return the number of pool connections in use."""
    out: int = app_services().database.engine.pool.checkedout()  # type: ignore[attr-defined]
    return out


def kill_process(*_: object, **__: object) -> Any:
    """Raise ProcessKilled. Tests install it in place of a step."""
    raise ProcessKilled


def set_retention_days(world: Factory, tenant: Tenant, days: object) -> None:
    """Set the tenant's retention in days, without the API's validation."""
    world.sql(tenant, f"UPDATE settings SET retention_days = '{{\"recordings\": {days}}}'")
