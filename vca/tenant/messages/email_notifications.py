"""Notify the tenant of a message by e-mail, at least once and always with the same Message-ID."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock
from vca.kit.backoff import BackOff
from vca.kit.mail import Mail, MailError
from vca.observability import log, metrics
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.messages.models import Message
from vca.tenant.settings import service as settings

MAIL_JOB = "messages.mail"
# About five days in total, the retry period that RFC 5321 asks of a sender.
BACK_OFF = BackOff((30, 120, 600, 1_800, 7_200, 21_600, 43_200, 86_400, 86_400, 86_400, 86_400))
_SUBJECT_NOUNS = {"message": "Message", "voicemail": "Voicemail"}


def schedule_if_enabled(session: Session, message: Message, *, services: Services) -> None:
    """Schedule the mail of a message if the tenant has an address and mail is configured."""
    if services.mailer is not None and settings.get(session).notification_email:
        message.mail_status = "pending"
        session.flush()
        _schedule(session, message.id)


def mail_status(message: Message) -> str:
    """Return what became of the message's mail; it is not stored for older messages."""
    if message.mailed_at is not None:
        return "sent"
    return message.mail_status or "none"


def send(tenant: TenantRef, *, services: Services, message_id: UUID, attempt: int) -> None:
    """Send the mail of a message that was not mailed yet; retry or give up after a failure.

    If the process is killed between the mail server's acceptance and our commit, the mail is sent
    again with the same Message-ID.
    """
    with tenant_session(tenant, database=services.database) as session:
        outgoing = _compose_mail(session, tenant, message_id)
    if outgoing is None:
        return
    try:
        _deliver(outgoing, services=services)
    except MailError as error:
        with tenant_session(tenant, database=services.database) as session:
            _handle_failure(session, message_id, attempt=attempt, error=error, now=clock.now())
    else:
        with tenant_session(tenant, database=services.database) as session:
            _set_status(session, message_id, "sent")
        metrics.MAILS.inc(outcome="sent")


def _deliver(outgoing: Mail, *, services: Services) -> None:
    """Send the mail. A worker without a mail server leaves it to a later attempt."""
    mailer = services.mailer
    if mailer is None:
        raise MailError("no mail server is configured", permanent=False)
    mailer.send(outgoing)


def _set_status(session: Session, message_id: UUID, status: str) -> None:
    """Store what became of the mail, unless the message was deleted meanwhile."""
    message = session.get(Message, message_id, with_for_update=True)
    if message is not None:
        message.mail_status = status
        if status == "sent":
            message.mailed_at = clock.now()


def _compose_mail(session: Session, tenant: TenantRef, message_id: UUID) -> Mail | None:
    """Return the mail, or None if it was sent already or is no longer wanted.

    Simulated messages have no job, except for jobs that were queued by an earlier release.
    """
    message, recipient = session.get(Message, message_id), settings.get(session).notification_email
    if message is None or message.simulated or message.mailed_at is not None:
        return None
    if not recipient:
        message.mail_status = "none"
        return None
    sender = message.name or message.caller_number or "a withheld number"
    return Mail(
        to=recipient,
        subject=f"{_SUBJECT_NOUNS[message.kind]} from {sender}",
        text=_mail_text(tenant, message),
        message_key=f"message-{message.id.hex}",
        written_at=message.created_at,
    )


def _mail_text(tenant: TenantRef, message: Message) -> str:
    details = {
        "Name": message.name,
        "Calling from": message.caller_number or "a withheld number",
        "Call back at": message.callback_number,
        "Received": f"{message.created_at:%Y-%m-%d %H:%M} UTC",
        "Recording": audio_path(tenant.id, message),
        "Message": message.id,
        "Call": message.call_id,
    }
    detail_text = "\n".join(
        f"{name}: {value}" for name, value in details.items() if value is not None
    )
    return f"{message.reason}\n\n{detail_text}\n" if message.reason else f"{detail_text}\n"


def audio_path(tenant_id: UUID, message: Message) -> str | None:
    """Return the API path of the message's audio, or None if there is none."""
    if message.recording_id is None or message.call_id is None:
        return None
    return f"/api/tenants/{tenant_id}/calls/{message.call_id}/recording?kind=voicemail"


def _handle_failure(
    session: Session, message_id: UUID, *, attempt: int, error: MailError, now: datetime
) -> None:
    is_final = error.permanent or not BACK_OFF.allows_retry(attempt + 1)
    log.get_logger().warning(
        "message.not_mailed" if is_final else "message.mail_delayed",
        message_id=str(message_id),
        code=error.code,
        attempt=attempt + 1,
        exc_info=error,
    )
    metrics.MAILS.inc(outcome="failed" if is_final else "deferred")
    _set_status(session, message_id, "failed" if is_final else "pending")
    if not is_final:
        run_at = now + BACK_OFF.delay(attempt + 1)
        _schedule(session, message_id, attempt=attempt + 1, run_at=run_at)


def _schedule(
    session: Session, message_id: UUID, *, attempt: int = 0, run_at: datetime | None = None
) -> None:
    """Enqueue one attempt.

    The lock allows one queued job per attempt, so that an attempt that runs twice does not schedule
    the next one twice.
    """
    queue.enqueue(
        session,
        MAIL_JOB,
        run_at=run_at,
        lock=attempt_lock(message_id, attempt),
        message_id=message_id,
        attempt=attempt,
    )


def attempt_lock(message_id: UUID, attempt: int) -> str:
    """Return the lock of the job of one attempt."""
    return f"{MAIL_JOB}:{message_id}:{attempt}"
