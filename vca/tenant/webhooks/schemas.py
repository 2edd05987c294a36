"""Request and response schemas of events."""

from marshmallow import fields

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import DateTime, QueryBoolean, string


class ToldEventSchema(Schema):
    """An event."""

    id = fields.UUID(
        dump_only=True,
        metadata={
            "description": "The `webhook-id` header is `evt_` followed by the id's hex digits."
        },
    )
    type = fields.String(dump_only=True, metadata={"example": "call.ended"})
    simulated = fields.Boolean(dump_only=True)
    data = fields.Dict(
        dump_only=True, metadata={"description": "The `data` of the webhook payload."}
    )
    created_at = fields.AwareDateTime(dump_only=True)


class ToldEventQuery(PageQuery):
    """Query parameters of the list of events."""

    type = string(1, 60)
    simulated = QueryBoolean()
    created_after = DateTime(attribute="created_at__gt")
    created_before = DateTime(attribute="created_at__lt")
