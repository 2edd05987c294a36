"""Record erasures in the object storage, which a restore of the database does not affect.

An entry has a keyed hash of the number, so that it does not reveal the person. Anyone who has the
number and our keys can tell whether it was erased. The keys are the peppers of API keys: the first
one hashes new entries, all of them are used for comparison. An old pepper must stay configured as
long as a backup of its time may be restored.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from vca.kit import crypto, json
from vca.services import Services

FOLDER = "erasures"


@dataclass(frozen=True)
class ErasureEntry:
    """One erasure of what the tenant held of a number at `asked_at`."""

    id: UUID
    tenant_id: UUID
    number_hash: str
    asked_at: datetime
    erased_at: datetime | None
    removed: dict[str, Any]


def number_hashes(tenant_id: UUID, number: str, *, services: Services) -> list[str]:
    """Return the number's possible hashes in the tenant's ledger; new entries use the first."""
    text = f"erased number|{tenant_id}|{number}"
    return [crypto.keyed_hash(pepper, text).hex() for pepper in services.settings.peppers]


def write_entry(entry: ErasureEntry, *, services: Services) -> None:
    """Store the entry; an existing entry of the same id is replaced. Raise StorageError."""
    key = f"{tenant_folder(entry.tenant_id)}/{entry.id.hex}.json"
    services.store.put(key, [json.dumps(entry)], content_type="application/json")


def read_entries(tenant_id: UUID, *, services: Services) -> Iterator[ErasureEntry]:
    """Yield all entries of the tenant's ledger. Raise StorageError."""
    store = services.store
    for key in store.keys(tenant_folder(tenant_id)):
        with closing(store.open(key)) as chunks:
            document = json.loads(b"".join(chunks))
        yield ErasureEntry(
            UUID(document["id"]),
            UUID(document["tenant_id"]),
            document["number_hash"],
            datetime.fromisoformat(document["asked_at"]),
            document["erased_at"] and datetime.fromisoformat(document["erased_at"]),
            document["removed"],
        )


def tenant_folder(tenant_id: UUID) -> str:
    """Return the folder of the tenant's ledger.

    It is not part of the tenant's audio folder, which is deleted with the tenant.
    """
    return f"{FOLDER}/{tenant_id.hex}"
