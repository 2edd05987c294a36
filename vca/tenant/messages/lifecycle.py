"""The part of messages in the life of a tenant."""

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from vca.services.lifecycle_hooks import (
    Counts,
    ImportedTenant,
    SubjectData,
    SubjectRecords,
    TenantLifecycleHooks,
    TenantTable,
)
from vca.tenant.base import any_id, execute_count, row_to_dict
from vca.tenant.messages import imported_mail
from vca.tenant.messages.models import Message


def _resume_mail(session: Session, imported: ImportedTenant) -> Counts:
    imported_mail.resume_mail(session, imported.ref, imported.is_copy)
    return {}


def _export_subject(session: Session, records: SubjectRecords) -> SubjectData:
    query = select(Message).where(any_id(Message.id, records.message_ids))
    rows = session.scalars(query.order_by(Message.created_at, Message.id)).all()
    return SubjectData(rows={"messages": [row_to_dict(row) for row in rows]})


def _erase_rows(session: Session, records: SubjectRecords) -> Counts:
    """Delete the messages of the calls, and those that name the person in other people's calls."""
    of_subject = or_(
        any_id(Message.call_id, records.call_ids), any_id(Message.id, records.message_ids)
    )
    return {"messages": execute_count(session, delete(Message).where(of_subject))}


HOOKS = TenantLifecycleHooks(
    feature="messages",
    tables=(TenantTable(model=Message, encrypted=(), configuration=False),),
    import_tenant=_resume_mail,
    examine=None,
    purge_files=None,
    export_subject=_export_subject,
    erase_files=None,
    erase_rows=_erase_rows,
    status_changed=None,
    number_changed=None,
    settings_changed=None,
    purge_expired=None,
)
