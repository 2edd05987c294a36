"""Request and response schemas of API keys."""

from marshmallow import fields, validate

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import DateTime, not_blank, string
from vca.registry.api_keys.models import SCOPES


class ApiKeySchema(Schema):
    """An API key, without the key itself."""

    id = fields.UUID(dump_only=True)
    tenant_id = fields.UUID(
        dump_only=True,
        allow_none=True,
        metadata={"description": "The tenant of the key; null for a platform key."},
    )
    name = fields.String(
        required=True,
        validate=[*string(1, 200).validators, not_blank],
        metadata={"example": "crm sync"},
    )
    scopes = fields.List(
        fields.String(validate=validate.OneOf(SCOPES)),
        validate=validate.Length(1, len(SCOPES)),
        metadata={
            "description": "Default: all scopes of the key that creates it.",
            "example": ["read", "write"],
        },
    )
    expires_at = DateTime(allow_none=True, metadata={"example": "2030-01-01T00:00:00Z"})
    prefix = fields.String(
        dump_only=True, metadata={"description": "The first characters of the key, to identify it."}
    )
    created_at = fields.AwareDateTime(dump_only=True)
    last_used_at = fields.AwareDateTime(
        dump_only=True,
        allow_none=True,
        metadata={"description": "Time of the last use; updated at most once in ten minutes."},
    )
    revoked_at = fields.AwareDateTime(dump_only=True, allow_none=True)


class NewApiKeySchema(ApiKeySchema):
    """A new API key; `key` is returned only once."""

    key = fields.String(
        dump_only=True,
        metadata={"description": "The API key. Store it securely: it is returned only once."},
    )


class CallerSchema(Schema):
    """The API key of the request."""

    id = fields.UUID(dump_only=True, attribute="key_id")
    tenant_id = fields.UUID(dump_only=True, allow_none=True)
    prefix = fields.String(dump_only=True)
    name = fields.String(dump_only=True)
    scopes = fields.List(fields.String(), dump_only=True, attribute="scope_list")
    expires_at = fields.AwareDateTime(dump_only=True, allow_none=True)
    created_at = fields.AwareDateTime(dump_only=True)


class ApiKeyQuery(PageQuery):
    """Query parameters for a list of API keys."""
