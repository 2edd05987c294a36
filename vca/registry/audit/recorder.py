"""Write what a deed did, in the transaction that does it: the last statement before its commit.

What is changed is seen where mapped objects are flushed; what changes without them is said by
`deeds.note`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.orm import Session

from vca.audit import context, redaction
from vca.audit.context import AuditChange, AuditContext
from vca.kit import clock, db, ids, json
from vca.tenancy.session import SESSION_TENANT

_COLUMNS = "id, actor, key_id, key_prefix, request_id, operation, object_type, object_id, changes"
_VALUES = ", ".join(f"%({name})s" for name in _COLUMNS.split(", "))
_INSERT_TENANT_ENTRY = (
    f"INSERT INTO audit_entries (tenant_id, {_COLUMNS})"
    f" VALUES (current_setting('vca.tenant_id')::uuid, {_VALUES})"
)
_INSERT_PLATFORM_ENTRY = (
    f"INSERT INTO public.audit_entries (tenant_id, {_COLUMNS}) VALUES (%(tenant_id)s, {_VALUES})"
)


def install_listeners() -> None:
    """Have every session of this process tell the deeds that it commits; again, it is the same."""
    for event_name, listener in (
        ("before_flush", _collect_changes),
        ("before_commit", _write_entries),
    ):
        if not event.contains(Session, event_name, listener):
            event.listen(Session, event_name, listener)


def _collect_changes(session: Session, _context: Any, _instances: Any) -> None:
    """Note the mapped objects that are about to be written, if their class says what they are."""
    if context.current_context() is None:
        return
    for row in (*session.new, *session.dirty, *session.deleted):
        name: str | None = getattr(row, "__audited_as__", None)
        if name is not None and (row in session.deleted or session.is_modified(row)):
            context.record_change(
                session,
                name,
                row.id,
                tenant_id=_tenant_id_of(row),
                changes=redaction.pending_changes(row),
            )


def _write_entries(session: Session) -> None:
    audit_context = context.current_context()
    if audit_context is None:
        return
    session.flush()
    recorded_changes = context.pop_changes(session)
    if recorded_changes is None:
        return
    rows = [
        each
        for each in _entry_rows(audit_context, recorded_changes)
        if _is_new(audit_context, each)
    ]
    if rows:
        statement = (
            _INSERT_PLATFORM_ENTRY if SESSION_TENANT not in session.info else _INSERT_TENANT_ENTRY
        )
        _insert_rows(session, statement, rows)


def _insert_rows(session: Session, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """All but the last at once, which is the command line's only: the last with the commit."""
    connection = session.connection()
    for row in rows[:-1]:
        connection.exec_driver_sql(statement, dict(row))
    db.set_commit_sql(connection, statement, rows[-1])


def _is_new(audit_context: AuditContext, row: Mapping[str, Any]) -> bool:
    key = row["object_id"] if audit_context.entry_per_resource else None
    new = key not in audit_context.recorded_ids
    audit_context.recorded_ids.add(key)
    return new


def _entry_rows(
    audit_context: AuditContext, recorded_changes: Sequence[AuditChange]
) -> list[dict[str, Any]]:
    if audit_context.entry_per_resource:
        ids = dict.fromkeys(each.id for each in recorded_changes)
        return [
            _entry_row(audit_context, [each for each in recorded_changes if each.id == id])
            for id in ids
        ]
    if audit_context.path_resource is None:
        return [
            _entry_row(
                audit_context,
                [each for each in recorded_changes if each.id == recorded_changes[0].id],
            )
        ]
    type, id = audit_context.path_resource
    matching = [each for each in recorded_changes if each.id == id]
    return [
        _entry_row(audit_context, matching or [AuditChange(type, id, audit_context.tenant_id, {})])
    ]


def _entry_row(
    audit_context: AuditContext, recorded_changes: Sequence[AuditChange]
) -> dict[str, Any]:
    """What is told of one thing; `noted` is of that thing alone, in order."""
    changes: dict[str, Any] = {}
    for each in recorded_changes:
        changes = redaction.merge_changes(changes, each.changes)
    first = recorded_changes[0] if recorded_changes else AuditChange("", None, None, {})
    return {
        "id": str(ids.uuid7(clock.now())),
        "tenant_id": _id_text(audit_context.tenant_id or first.tenant_id),
        "actor": audit_context.actor.kind,
        "key_id": _id_text(audit_context.actor.key_id),
        "key_prefix": audit_context.actor.key_prefix,
        "request_id": audit_context.request_id,
        "operation": audit_context.operation,
        "object_type": first.type or None,
        "object_id": _id_text(first.id),
        "changes": json.dumps(changes).decode(),
    }


def _tenant_id_of(row: Any) -> UUID | None:
    return row.id if row.__audited_as__ == "tenant" else getattr(row, "tenant_id", None)


def _id_text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
