"""Request and response schemas of messages."""

from typing import Any

from marshmallow import fields

from vca.kit.web import PageQuery, Schema, pagination
from vca.kit.web.schema import QueryBoolean, Uuid, string
from vca.tenant.messages import email_notifications
from vca.tenant.messages.models import KINDS, MAIL_STATUSES, STATUSES


def _audio_url(message: Any) -> str | None:
    path = email_notifications.audio_path(message.tenant_id, message)
    return pagination.public_url(path) if path is not None else None


class MessageChangeSchema(Schema):
    """The fields of a message that can be updated."""

    status = string(1, 20, one_of=STATUSES)


class MessageSchema(MessageChangeSchema):
    """A message."""

    computed = {"audio": _audio_url, "mail_status": email_notifications.mail_status}

    id = fields.UUID(dump_only=True)
    kind = string(1, 20, one_of=KINDS, dump_only=True)
    call_id = fields.UUID(dump_only=True, allow_none=True)
    caller_number = fields.String(
        dump_only=True, allow_none=True, metadata={"example": "+14155550123"}
    )
    callback_number = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={"description": "The number that the caller gave.", "example": "+14155550123"},
    )
    name = fields.String(dump_only=True, allow_none=True, metadata={"example": "Jane Doe"})
    reason = fields.String(dump_only=True, allow_none=True)
    simulated = fields.Boolean(
        dump_only=True,
        metadata={"description": "Whether the call was simulated. Such messages are never mailed."},
    )
    audio = fields.String(
        dump_only=True, allow_none=True, metadata={"description": "URL of the recording."}
    )
    mail_status = string(
        1,
        20,
        one_of=MAIL_STATUSES,
        dump_only=True,
        metadata={
            "description": "`none`: the message is not mailed, because there is no "
            "`notification_email` or no mail server, or the call was simulated. `pending`: the "
            "mail was not accepted yet, and VCA tries again for about five days. `failed`: the "
            "mail server rejected it, or accepted it in none of the attempts.",
            "example": "sent",
        },
    )
    mailed_at = fields.AwareDateTime(
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "When the message was mailed to the tenant's `notification_email`."
        },
    )
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class MessageQuery(PageQuery):
    """Query parameters of the list of messages."""

    status = string(1, 20, one_of=STATUSES)
    kind = string(1, 20, one_of=KINDS)
    call_id = Uuid()
    simulated = QueryBoolean(
        load_default=False,
        metadata={"description": "`true` lists messages of simulated calls instead of real ones."},
    )
