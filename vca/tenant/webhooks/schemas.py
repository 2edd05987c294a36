"""Events as the API shows them."""

from marshmallow import fields

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import DateTime, QueryBoolean, string


class ToldEventSchema(Schema):
    """Something that happened."""

    id = fields.UUID(
        dump_only=True, metadata={"description": "The `webhook-id` is `evt_` and its digits."}
    )
    type = fields.String(dump_only=True, metadata={"example": "call.ended"})
    simulated = fields.Boolean(dump_only=True)
    data = fields.Dict(dump_only=True, metadata={"description": "As webhooks are sent it."})
    created_at = fields.AwareDateTime(dump_only=True)


class ToldEventQuery(PageQuery):
    """Filters of the list of events."""

    type = string(1, 60)
    simulated = QueryBoolean()
    created_after = DateTime(attribute="created_at__gt")
    created_before = DateTime(attribute="created_at__lt")
