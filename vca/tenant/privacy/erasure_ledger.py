"""What was erased, kept where a restore of the database does not reach: in the store.

An entry holds a keyed hash of the number, and so tells nobody whom it is about; whoever holds a
number again, and our keys, knows whether it was erased. The peppers of API keys are the keys: the
first writes, all read, and an old one stays listed for as long as a backup of its time may be
brought back.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from vca.kit import crypto, json, storage

FOLDER = "erasures"
_peppers: Sequence[str] = ()


@dataclass(frozen=True)
class ErasureEntry:
    """One erasure: of what the tenant held of a number at `asked_at`."""

    id: UUID
    tenant_id: UUID
    number_hash: str
    asked_at: datetime
    erased_at: datetime | None
    removed: dict[str, Any]


def set_peppers(peppers: Sequence[str]) -> None:
    """Hash with the first of these from now on, and know what was hashed with any."""
    global _peppers
    _peppers = peppers


def number_hashes(tenant_id: UUID, number: str) -> list[str]:
    """What the number may be called in the tenant's ledger; as new entries call it first."""
    text = f"erased number|{tenant_id}|{number}"
    return [crypto.keyed_hash(pepper, text).hex() for pepper in _peppers]


def write_entry(entry: ErasureEntry) -> None:
    """Keep the entry; again replaces it. Raises StorageError."""
    key = f"{tenant_folder(entry.tenant_id)}/{entry.id.hex}.json"
    storage.current_store().put(key, [json.dumps(entry)], content_type="application/json")


def read_entries(tenant_id: UUID) -> Iterator[ErasureEntry]:
    """All that was ever erased of a tenant. Raises StorageError."""
    store = storage.current_store()
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
    """Where the ledger of a tenant is: not with its audio, which goes when the tenant goes."""
    return f"{FOLDER}/{tenant_id.hex}"
