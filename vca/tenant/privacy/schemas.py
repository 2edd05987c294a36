"""Request and response schemas of exports and erasures."""

from marshmallow import fields

from vca.kit.web import Schema
from vca.kit.web.schema import e164, string
from vca.tenant.privacy.models import STATUSES


class SubjectSchema(Schema):
    """The person that a request is about."""

    number = e164(required=True)


class PrivacyRequestSchema(Schema):
    """The fields that exports and erasures share."""

    id = fields.UUID(dump_only=True)
    created_at = fields.AwareDateTime(
        dump_only=True,
        metadata={"description": "The request covers the data that existed at this time."},
    )
    finished_at = fields.AwareDateTime(dump_only=True, allow_none=True)


class ExportSchema(PrivacyRequestSchema):
    """An export of a person's data."""

    status = string(
        1,
        20,
        one_of=STATUSES,
        dump_only=True,
        metadata={
            "description": "`done`: the file can be downloaded. `expired`: the file was deleted."
        },
    )
    holds = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "Number of items of each kind.",
            "example": {"calls": 3, "recordings": 1, "messages": 1, "mentions": 12},
        },
    )
    size_bytes = fields.Integer(dump_only=True, allow_none=True)
    expires_at = fields.AwareDateTime(
        dump_only=True, allow_none=True, metadata={"description": "When the file is deleted."}
    )


class CarriersCallSchema(Schema):
    """A call's identification at its carrier."""

    provider_type = fields.String(dump_only=True, metadata={"example": "twilio"})
    provider_call_id = fields.String(dump_only=True, metadata={"example": "CA0123456789"})


class RemainsSchema(Schema):
    """Data that an erasure cannot reach."""

    where = fields.String(dump_only=True, metadata={"example": "carriers"})
    detail = fields.String(dump_only=True)
    calls = fields.List(fields.Nested(CarriersCallSchema), dump_only=True)
    places = fields.List(
        fields.String(),
        dump_only=True,
        metadata={"description": "Fields of the tenant's configuration."},
    )


class ErasureSchema(PrivacyRequestSchema):
    """An erasure: what was removed, and what remains elsewhere."""

    status = string(
        1,
        20,
        one_of=STATUSES,
        dump_only=True,
        metadata={"description": "`waiting`: a call is still live and is erased after it ends."},
    )
    removed = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        dump_only=True,
        metadata={
            "description": "Number of removed items of each kind. Rows of `calls` and `events` "
            "stay without their content.",
            "example": {"calls": 3, "turns": 41, "recordings": 1, "messages": 1, "mentions": 2},
        },
    )
    remains = fields.List(fields.Nested(RemainsSchema), dump_only=True)
