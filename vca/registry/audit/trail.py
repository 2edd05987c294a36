"""Write what a deed did, in the transaction that does it: the last statement before its commit.

What is changed is seen where mapped objects are flushed; what changes without them is said by
`deeds.note`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.orm import Session

from vca.kit import clock, db, deeds, disclosure, ids, json
from vca.kit.deeds import Deed, Noted
from vca.tenancy.session import INSIDE

_COLUMNS = "id, actor, key_id, key_prefix, request_id, operation, object_type, object_id, changes"
_VALUES = ", ".join(f"%({name})s" for name in _COLUMNS.split(", "))
_TO_TENANT = (
    f"INSERT INTO audit_entries (tenant_id, {_COLUMNS})"
    f" VALUES (current_setting('vca.tenant_id')::uuid, {_VALUES})"
)
_TO_PLATFORM = (
    f"INSERT INTO public.audit_entries (tenant_id, {_COLUMNS}) VALUES (%(tenant_id)s, {_VALUES})"
)


def install() -> None:
    """Have every session of this process tell the deeds that it commits; again, it is the same."""
    for moment, listener in (("before_flush", _see), ("before_commit", _tell)):
        if not event.contains(Session, moment, listener):
            event.listen(Session, moment, listener)


def _see(session: Session, _context: Any, _instances: Any) -> None:
    """Note the mapped objects that are about to be written, if their class says what they are."""
    if deeds.current() is None:
        return
    for row in (*session.new, *session.dirty, *session.deleted):
        name: str | None = getattr(row, "__audited_as__", None)
        if name is not None and (row in session.deleted or session.is_modified(row)):
            deeds.note(
                session, name, row.id, tenant_id=_whose(row), changes=disclosure.changes(row)
            )


def _tell(session: Session) -> None:
    deed = deeds.current()
    if deed is None:
        return
    session.flush()
    noted = deeds.taken(session)
    if noted is None:
        return
    rows = [each for each in _rows(deed, noted) if _is_new(deed, each)]
    if rows:
        statement = _TO_PLATFORM if INSIDE not in session.info else _TO_TENANT
        _write(session, statement, rows)


def _write(session: Session, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """All but the last at once, which is the command line's only: the last with the commit."""
    connection = session.connection()
    for row in rows[:-1]:
        connection.exec_driver_sql(statement, dict(row))
    db.closing(connection, statement, rows[-1])


def _is_new(deed: Deed, row: Mapping[str, Any]) -> bool:
    key = row["object_id"] if deed.of_each else None
    new = key not in deed.told
    deed.told.add(key)
    return new


def _rows(deed: Deed, noted: Sequence[Noted]) -> list[dict[str, Any]]:
    if deed.of_each:
        ids = dict.fromkeys(each.id for each in noted)
        return [_row(deed, [each for each in noted if each.id == id]) for id in ids]
    if deed.named is None:
        return [_row(deed, [each for each in noted if each.id == noted[0].id])]
    type, id = deed.named
    about = [each for each in noted if each.id == id]
    return [_row(deed, about or [Noted(type, id, deed.tenant_id, {})])]


def _row(deed: Deed, noted: Sequence[Noted]) -> dict[str, Any]:
    """What is told of one thing; `noted` is of that thing alone, in order."""
    changes: dict[str, Any] = {}
    for each in noted:
        changes = disclosure.merged(changes, each.changes)
    first = noted[0] if noted else Noted("", None, None, {})
    return {
        "id": str(ids.ordered(clock.now())),
        "tenant_id": _text(deed.tenant_id or first.tenant_id),
        "actor": deed.actor.kind,
        "key_id": _text(deed.actor.key_id),
        "key_prefix": deed.actor.key_prefix,
        "request_id": deed.request_id,
        "operation": deed.operation,
        "object_type": first.type or None,
        "object_id": _text(first.id),
        "changes": json.dumps(changes).decode(),
    }


def _whose(row: Any) -> UUID | None:
    return row.id if row.__audited_as__ == "tenant" else getattr(row, "tenant_id", None)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
