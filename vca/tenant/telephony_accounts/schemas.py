"""Request and response schemas of telephony accounts."""

from typing import Any

from marshmallow import fields, validate

from vca.kit.web import Schema
from vca.kit.web.schema import string

_FIELDS: dict[str, Any] = {
    "data_key": "fields",
    "attribute": "fields",
    "keys": fields.String(validate=validate.Length(1, 60)),
    "values": string(1, 4_000),
    "validate": validate.Length(max=20),
}


class TelephonyAccountChangeSchema(Schema):
    """The fields of a telephony account that can be updated."""

    label = string(1, 200, allow_none=True, metadata={"example": "Our own trunk"})
    account_fields = fields.Dict(
        **_FIELDS,
        metadata={
            "description": "The fields to change. After a change of a secret the previous fields "
            "are accepted for 24 more hours.",
            "example": {"secret": "sixteen-characters-or-more"},
        },
    )


class NewTelephonyAccountSchema(TelephonyAccountChangeSchema):
    """The request to create a telephony account."""

    provider_type = string(1, 40, required=True, metadata={"example": "fake"})
    account_fields = fields.Dict(
        **_FIELDS,
        required=True,
        metadata={
            "description": "The fields of the carrier's accounts. Secrets are never shown again.",
            "example": {"account_id": "acme", "secret": "sixteen-characters-or-more"},
        },
    )


class SecretSchema(Schema):
    """A secret that is set."""

    name = fields.String(metadata={"example": "secret"})
    changed_at = fields.AwareDateTime()


class TelephonyAccountSchema(Schema):
    """A telephony account without its secrets."""

    id = fields.UUID(dump_only=True)
    tenant_id = fields.UUID(dump_only=True)
    provider_type = fields.String(dump_only=True, metadata={"example": "fake"})
    label = fields.String(dump_only=True, allow_none=True)
    account_fields = fields.Dict(
        data_key="fields",
        attribute="fields",
        keys=fields.String(),
        values=fields.String(),
        dump_only=True,
        metadata={"description": "Non-secret fields.", "example": {"account_id": "acme"}},
    )
    secrets = fields.List(
        fields.Nested(SecretSchema),
        dump_only=True,
        metadata={
            "description": "The secrets that are set. Empty if the account cannot be decrypted."
        },
    )
    previous_accepted_until = fields.AwareDateTime(
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "Until when requests signed with the previous secrets are accepted."
        },
    )
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)
