"""Exports and erasures as the API shows and takes them."""

from marshmallow import fields

from vca.kit.web import Schema
from vca.kit.web.schema import e164, string
from vca.tenant.privacy.models import STATUSES


class SubjectSchema(Schema):
    """Whom it is about."""

    number = e164(required=True)


class PrivacyRequestSchema(Schema):
    """A request that is being worked on, or was done."""

    id = fields.UUID(dump_only=True)
    created_at = fields.AwareDateTime(
        dump_only=True, metadata={"description": "It is about what was there by then."}
    )
    finished_at = fields.AwareDateTime(dump_only=True, allow_none=True)


class ExportSchema(PrivacyRequestSchema):
    """What a tenant keeps of somebody, as one file."""

    status = string(
        1,
        20,
        one_of=STATUSES,
        dump_only=True,
        metadata={"description": "`done`: the file can be fetched; `expired`: no more."},
    )
    holds = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "How many of each kind.",
            "example": {"calls": 3, "recordings": 1, "messages": 1, "mentions": 12},
        },
    )
    size_bytes = fields.Integer(dump_only=True, allow_none=True)
    expires_at = fields.AwareDateTime(
        dump_only=True, allow_none=True, metadata={"description": "The file is deleted then."}
    )


class CarriersCallSchema(Schema):
    """A call as its carrier knows it."""

    provider_type = fields.String(dump_only=True, metadata={"example": "twilio"})
    provider_call_id = fields.String(dump_only=True, metadata={"example": "CA0123456789"})


class RemainsSchema(Schema):
    """Something that an erasure does not reach."""

    where = fields.String(dump_only=True, metadata={"example": "carriers"})
    detail = fields.String(dump_only=True)
    calls = fields.List(fields.Nested(CarriersCallSchema), dump_only=True)
    places = fields.List(
        fields.String(), dump_only=True, metadata={"description": "Fields of the configuration."}
    )


class ErasureSchema(PrivacyRequestSchema):
    """What was removed of somebody, and what remains where."""

    status = string(
        1,
        20,
        one_of=STATUSES,
        dump_only=True,
        metadata={"description": "`waiting`: a call of theirs goes on, and is erased after it."},
    )
    removed = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        dump_only=True,
        metadata={
            "description": "How many of each kind; of `calls` and `events` the row stays, emptied.",
            "example": {"calls": 3, "turns": 41, "recordings": 1, "messages": 1, "mentions": 2},
        },
    )
    remains = fields.List(fields.Nested(RemainsSchema), dump_only=True)
