"""Write audit entries in the transaction of the operation, as the last statement before commit.

Changes of mapped objects are collected when they are flushed. Other changes are recorded with
`vca.audit.context.record_change`.
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
    """Write audit entries for every session of this process. Idempotent."""
    for event_name, listener in (
        ("before_flush", _collect_changes),
        ("before_commit", _write_entries),
    ):
        if not event.contains(Session, event_name, listener):
            event.listen(Session, event_name, listener)


def _collect_changes(session: Session, _context: Any, _instances: Any) -> None:
    """Record the mapped objects that are about to be flushed, if their class is audited."""
    audit_context = context.current_context()
    if audit_context is None:
        return
    for row in (*session.new, *session.dirty, *session.deleted):
        name: str | None = getattr(row, "__audited_as__", None)
        if name is not None and (row in session.deleted or session.is_modified(row)):
            context.record_change(
                session,
                name,
                row.id,
                tenant_id=_tenant_id_of(row),
                changes=redaction.pending_changes(row, audit_context.hash_key),
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
        entry
        for entry in _entry_rows(audit_context, recorded_changes)
        if _is_new(audit_context, entry)
    ]
    if rows:
        statement = (
            _INSERT_PLATFORM_ENTRY if SESSION_TENANT not in session.info else _INSERT_TENANT_ENTRY
        )
        _insert_rows(session, statement, rows)


def _insert_rows(session: Session, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows together with the commit."""
    connection = session.connection()
    for row in rows:
        db.defer_statement(connection, statement, row)


def _is_new(audit_context: AuditContext, row: Mapping[str, Any]) -> bool:
    key = row["object_id"] if audit_context.entry_per_resource else None
    new = key not in audit_context.recorded_ids
    audit_context.recorded_ids.add(key)
    return new


def _entry_rows(
    audit_context: AuditContext, recorded_changes: Sequence[AuditChange]
) -> list[dict[str, Any]]:
    if audit_context.entry_per_resource:
        ids = dict.fromkeys(change.id for change in recorded_changes)
        return [
            _entry_row(audit_context, [change for change in recorded_changes if change.id == id])
            for id in ids
        ]
    if audit_context.path_resource is None:
        return [
            _entry_row(
                audit_context,
                [change for change in recorded_changes if change.id == recorded_changes[0].id],
            )
        ]
    type, id = audit_context.path_resource
    matching = [change for change in recorded_changes if change.id == id]
    return [
        _entry_row(audit_context, matching or [AuditChange(type, id, audit_context.tenant_id, {})])
    ]


def _entry_row(
    audit_context: AuditContext, recorded_changes: Sequence[AuditChange]
) -> dict[str, Any]:
    """Return the entry for one object; `recorded_changes` are of that object, in order."""
    changes: dict[str, Any] = {}
    for change in recorded_changes:
        changes = redaction.merge_changes(changes, change.changes)
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
