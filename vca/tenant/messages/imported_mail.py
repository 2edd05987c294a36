"""Resume the mails of an imported tenant: archives have messages, but no jobs."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.tenancy.schema import TenantRef
from vca.tenant.messages.email_notifications import MAIL_JOB, attempt_lock

_FIND_PENDING = "SELECT id FROM \"{schema}\".messages WHERE mail_status = 'pending'"
_GIVE_UP = "UPDATE \"{schema}\".messages SET mail_status = 'none' WHERE mail_status = 'pending'"


def resume_mail(session: Session, tenant: TenantRef, is_copy: bool) -> None:
    """Schedule the pending mails again; in a copy beside its original, the original sends them.

    The session must be an owner session that is not inside a tenant.
    """
    if is_copy:
        session.execute(text(_GIVE_UP.format(schema=tenant.schema)))
        return
    for message_id in session.scalars(text(_FIND_PENDING.format(schema=tenant.schema))):
        lock = attempt_lock(message_id, 0)
        queue.enqueue(session, MAIL_JOB, tenant_id=tenant.id, lock=lock, message_id=message_id)
