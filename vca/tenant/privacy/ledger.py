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
class Entry:
    """One erasure: of what the tenant held of a number at `asked_at`."""

    id: UUID
    tenant_id: UUID
    number_hash: str
    asked_at: datetime
    erased_at: datetime | None
    removed: dict[str, Any]


def use(peppers: Sequence[str]) -> None:
    """Hash with the first of these from now on, and know what was hashed with any."""
    global _peppers
    _peppers = peppers


def hashes(tenant_id: UUID, number: str) -> list[str]:
    """What the number may be called in the tenant's ledger; as new entries call it first."""
    text = f"erased number|{tenant_id}|{number}"
    return [crypto.keyed_hash(pepper, text).hex() for pepper in _peppers]


def note(entry: Entry) -> None:
    """Keep the entry; again replaces it. Raises StorageError."""
    key = f"{folder_of(entry.tenant_id)}/{entry.id.hex}.json"
    storage.current().put(key, [json.dumps(entry)], content_type="application/json")


def entries(tenant_id: UUID) -> Iterator[Entry]:
    """All that was ever erased of a tenant. Raises StorageError."""
    store = storage.current()
    for key in store.keys(folder_of(tenant_id)):
        with closing(store.open(key)) as opened:
            kept = json.loads(b"".join(opened))
        yield Entry(
            UUID(kept["id"]),
            UUID(kept["tenant_id"]),
            kept["number_hash"],
            datetime.fromisoformat(kept["asked_at"]),
            kept["erased_at"] and datetime.fromisoformat(kept["erased_at"]),
            kept["removed"],
        )


def folder_of(tenant_id: UUID) -> str:
    """Where the ledger of a tenant is: not with its audio, which goes when the tenant goes."""
    return f"{FOLDER}/{tenant_id.hex}"
