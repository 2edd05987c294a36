"""What may be told of a value that was changed: shown by allow-list, withheld by default.

Numbers, booleans, ids and times are harmless. Texts and documents are withheld, unless their column
says otherwise: `SHOWN` for closed vocabularies and plain settings, `HASHED` for telephone numbers,
of which a keyed hash lets equal ones be recognised.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, DateTime, Float, Integer, Uuid, inspect
from sqlalchemy.sql.elements import ClauseElement

from vca.kit import crypto

SHOWN: dict[Any, Any] = {"redaction": "shown"}
HASHED: dict[Any, Any] = {"redaction": "hashed"}
_HARMLESS = (Boolean, DateTime, Float, Integer, Uuid)
# What is told of a change whose values are not.
WITHHELD: Mapping[str, bool] = {"redacted": True}
_HASH_BYTES = 16
# What every change changes, and what whoever asks is told anyhow.
_BOOKKEEPING = ("id", "tenant_id", "created_at", "updated_at")
_key: str | None = None


def use(key: str) -> None:
    """The key of this process's hashes."""
    global _key
    _key = key


def hashed(text: str) -> UUID:
    """A keyed hash of a number or another text, in the shape of an id; LookupError before `use`."""
    if _key is None:
        raise LookupError("no key is in use")
    return UUID(bytes=crypto.keyed_hash(_key, f"redacted|{text}")[:_HASH_BYTES])


def shown(before: Any, after: Any) -> dict[str, Any]:
    """A change of something harmless."""
    return {"from": before, "to": after}


def changes(row: Any) -> dict[str, Any]:
    """What the next flush will change of a mapped object, by attribute, as it may be told."""
    state = inspect(row)
    found = {}
    for name, attribute in state.mapper.column_attrs.items():
        history = state.attrs[name].history
        if name in _BOOKKEEPING or not history.has_changes():
            continue
        before, after = (next(iter(side or ()), None) for side in (history.deleted, history.added))
        if before != after or isinstance(after, ClauseElement):
            found[name] = _told(attribute.columns[0], before, after)
    return found


def merged(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Two changes of the same thing, one after the other, as one."""
    both = {**first, **then}
    for name in first.keys() & then.keys():
        both[name] = {**then[name], **{k: v for k, v in first[name].items() if "from" in k}}
    return both


def _told(column: Column[Any], before: Any, after: Any) -> Mapping[str, Any]:
    how = column.info.get("redaction")
    if how == "hashed":
        return {"from_hash": before and hashed(before), "to_hash": after and hashed(after)}
    plain = not isinstance(after, ClauseElement)
    if plain and (how == "shown" or isinstance(column.type, _HARMLESS)):
        return shown(before, after)
    return WITHHELD
