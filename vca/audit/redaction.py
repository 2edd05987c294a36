"""Redaction of changed values: shown by allow-list, withheld by default.

Numbers, booleans, ids and times are shown. Texts and documents are withheld unless their column
says otherwise: `PLAIN` for closed vocabularies and plain settings, `HASHED` for phone numbers. A
keyed hash lets equal numbers be recognised.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, DateTime, Float, Integer, Uuid, inspect
from sqlalchemy.sql.elements import ClauseElement

from vca.kit import crypto

PLAIN: dict[Any, Any] = {"redaction": "shown"}
HASHED: dict[Any, Any] = {"redaction": "hashed"}
_PLAIN_TYPES = (Boolean, DateTime, Float, Integer, Uuid)
# Stands for a change whose values are withheld.
WITHHELD: Mapping[str, bool] = {"redacted": True}
_HASH_BYTES = 16
# Columns that every change touches, or that each audit entry contains anyway.
_BOOKKEEPING_COLUMNS = ("id", "tenant_id", "created_at", "updated_at")


def hash_text(text: str, hash_key: str) -> UUID:
    """Return a keyed hash in the form of a UUID."""
    return UUID(bytes=crypto.keyed_hash(hash_key, f"redacted|{text}")[:_HASH_BYTES])


def plain_change(before: Any, after: Any) -> dict[str, Any]:
    """Return a change with both values in plain text."""
    return {"from": before, "to": after}


def pending_changes(row: Any, hash_key: str) -> dict[str, Any]:
    """Return the redacted changes of a mapped object at the next flush, by attribute.

    Values that are shown as hashes are hashed with `hash_key`.
    """
    state = inspect(row)
    pending = {}
    for name, attribute in state.mapper.column_attrs.items():
        history = state.attrs[name].history
        if name in _BOOKKEEPING_COLUMNS or not history.has_changes():
            continue
        before, after = (
            next(iter(values or ()), None) for values in (history.deleted, history.added)
        )
        if before != after or isinstance(after, ClauseElement):
            pending[name] = _redact_change(attribute.columns[0], before, after, hash_key)
    return pending


def merge_changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two successive changes of the same resource into one."""
    merged_changes = {**first, **second}
    for name in first.keys() & second.keys():
        merged_changes[name] = {
            **second[name],
            **{key: value for key, value in first[name].items() if "from" in key},
        }
    return merged_changes


def _redact_change(
    column: Column[Any], before: Any, after: Any, hash_key: str
) -> Mapping[str, Any]:
    policy = column.info.get("redaction")
    if policy == "hashed":
        return {
            "from_hash": before and hash_text(before, hash_key),
            "to_hash": after and hash_text(after, hash_key),
        }
    is_plain = not isinstance(after, ClauseElement)
    if is_plain and (policy == "shown" or isinstance(column.type, _PLAIN_TYPES)):
        return plain_change(before, after)
    return WITHHELD
