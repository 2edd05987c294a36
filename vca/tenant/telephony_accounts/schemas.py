"""Accounts with carriers as the API shows and takes them."""

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
    """What may change on an account."""

    label = string(1, 200, allow_none=True, metadata={"example": "Our own trunk"})
    account_fields = fields.Dict(
        **_FIELDS,
        metadata={
            "description": "Those that change. With a new secret the ones before are accepted for "
            "24 hours more.",
            "example": {"secret": "sixteen-characters-or-more"},
        },
    )


class NewTelephonyAccountSchema(TelephonyAccountChangeSchema):
    """An account to be kept."""

    provider_type = string(1, 40, required=True, metadata={"example": "fake"})
    account_fields = fields.Dict(
        **_FIELDS,
        required=True,
        metadata={
            "description": "What the carrier's accounts consist of; secrets are never shown again.",
            "example": {"account_id": "acme", "secret": "sixteen-characters-or-more"},
        },
    )


class SecretSchema(Schema):
    """A secret that is set."""

    name = fields.String(metadata={"example": "secret"})
    changed_at = fields.AwareDateTime()


class TelephonyAccountSchema(Schema):
    """An account with a carrier, without its secrets."""

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
        metadata={"description": "What is no secret.", "example": {"account_id": "acme"}},
    )
    secrets = fields.List(
        fields.Nested(SecretSchema),
        dump_only=True,
        metadata={"description": "Which are set, and since when; none: they cannot be read."},
    )
    previous_accepted_until = fields.AwareDateTime(
        dump_only=True,
        allow_none=True,
        metadata={"description": "Until when requests signed with the secrets before are taken."},
    )
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)
