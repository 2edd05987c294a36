"""Request and response schemas of webhooks and deliveries."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import DateTime, StrictBoolean, string
from vca.observability.metrics import DISABLED_REASONS
from vca.registry.webhooks.event_types import EVENT_TYPES
from vca.registry.webhooks.mixins import STATUSES

MAX_URL_LENGTH = 2_000
_URL_METADATA = {
    "description": "The URL that receives events: https, with a public address.",
    "example": "https://example.com/vca",
}


class WebhookChangeSchema(Schema):
    """The fields of a webhook that can be updated."""

    url = string(1, MAX_URL_LENGTH, metadata=_URL_METADATA)
    description = string(1, 200, allow_none=True, metadata={"example": "The CRM"})
    events = fields.List(
        fields.String(validate=validate.OneOf(EVENT_TYPES)),
        validate=validate.Length(0, len(EVENT_TYPES)),
        metadata={
            "description": "The event types to send. An empty list means all types.",
            "example": ["call.ended", "message.taken"],
        },
    )
    is_active = StrictBoolean(metadata={"description": "If false, no events are sent or queued."})


class NewWebhookSchema(WebhookChangeSchema):
    """A new webhook."""

    url = string(1, MAX_URL_LENGTH, required=True, metadata=_URL_METADATA)


class WebhookSchema(WebhookChangeSchema):
    """A webhook, without its secret."""

    id = fields.UUID(dump_only=True)
    disabled_reason = string(
        1,
        20,
        one_of=DISABLED_REASONS,
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "Why the webhook was disabled automatically: `gone` after a response "
            "with status 410, `failing` after five days with failures only."
        },
    )
    disabled_at = fields.AwareDateTime(dump_only=True, allow_none=True)
    failing_since = fields.AwareDateTime(
        dump_only=True,
        allow_none=True,
        metadata={"description": "Time of the first failure in a row; null if there are none."},
    )
    previous_secret_until = fields.AwareDateTime(
        dump_only=True,
        allow_none=True,
        metadata={"description": "Until this time, the previous secret also signs."},
    )
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class SecretWebhookSchema(WebhookSchema):
    """A webhook with a new secret; `secret` is returned only once."""

    secret = fields.String(
        dump_only=True,
        metadata={
            "description": "The Standard Webhooks secret. Store it securely: it is returned once."
        },
    )


class AttemptSchema(Schema):
    """An attempt to deliver an event."""

    at = fields.AwareDateTime(dump_only=True)
    duration_ms = fields.Integer(dump_only=True)
    status = fields.Integer(
        dump_only=True,
        allow_none=True,
        metadata={"description": "The HTTP status of the response."},
    )
    error = fields.String(
        dump_only=True, allow_none=True, metadata={"description": "Why there was no response."}
    )
    response = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={"description": "The first 1,000 characters of the response body."},
    )


class DeliverySchema(Schema):
    """The delivery of an event to a webhook."""

    id = fields.UUID(dump_only=True)
    webhook_id = fields.UUID(dump_only=True)
    event_id = fields.UUID(dump_only=True)
    type = fields.String(dump_only=True, metadata={"example": "call.ended"})
    payload = fields.Dict(dump_only=True, metadata={"description": "The body that is sent."})
    status = string(1, 20, one_of=STATUSES, dump_only=True)
    attempts = fields.List(fields.Nested(AttemptSchema), dump_only=True)
    next_attempt_at = fields.AwareDateTime(dump_only=True, allow_none=True)
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class DeliveryQuery(PageQuery):
    """Query parameters for a list of deliveries."""

    status = string(1, 20, one_of=STATUSES)
    type = string(1, 60)
    event_id = fields.UUID()


class RangeSchema(Schema):
    """The time range of events to redeliver."""

    since = DateTime(required=True, metadata={"example": "2030-01-01T00:00:00Z"})
    until = DateTime(required=True, metadata={"example": "2030-01-02T00:00:00Z"})
    status = string(
        1,
        20,
        one_of=STATUSES,
        metadata={"description": "Redeliver only deliveries with this status."},
    )

    @validates_schema
    def _in_order(self, data: dict[str, Any], **_: Any) -> None:
        if data["since"] >= data["until"]:
            raise ValidationError({"until": ["Must be after since."]})


class ArmedSchema(Schema):
    """The result of a redelivery."""

    deliveries = fields.Integer(dump_only=True)
