"""A tenant's settings as the API shows and takes them."""

from typing import Any
from zoneinfo import available_timezones

import phonenumbers
from marshmallow import ValidationError, fields, validate

from vca.kit.web import Schema
from vca.kit.web.schema import Pattern, integer, not_blank, string
from vca.tenant.settings import dialling
from vca.tenant.settings.hours_schema import HoursSchema
from vca.tenant.settings.service import MAX_VARIABLES

_VARIABLE = Pattern("^[a-z][a-z0-9_]{0,39}$", error="Not a name of a variable.")
_ZONES = available_timezones() - {"localtime"}  # the machine's own, where a system has it


def _validate_time_zone(name: str) -> None:
    if name not in _ZONES:
        raise ValidationError("Not an IANA time zone, as Europe/Berlin.")


def _validate_country(code: str) -> None:
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise ValidationError("Not the ISO 3166 code of a country, as DE.")


def _country_field(**options: Any) -> fields.String:
    return fields.String(validate=[*string(2, 2).validators, _validate_country], **options)


def _days_field(description: str) -> fields.Integer:
    field_metadata = {"description": f"{description} null: they are kept.", "example": 90}
    return integer(1, 3650, allow_none=True, metadata=field_metadata)


def _sentence_field(description: str) -> fields.String:
    return fields.String(
        allow_none=True,
        validate=[*string(1, 1000).validators, not_blank],
        metadata={"description": f"{description} null: the default."},
    )


class SentencesSchema(Schema):
    """What callers hear when no agent speaks."""

    over_limit = _sentence_field("All lines are busy.")
    suspended = _sentence_field("The tenant is suspended.")
    closed = _sentence_field("The number is closed.")
    fallback = _sentence_field("Something failed on our side.")


class RetentionSchema(Schema):
    """After how many days something of a call is deleted."""

    transcripts = _days_field("What was said, with the messages that were taken of it.")
    recordings = _days_field("Audio.")
    payloads = _days_field(
        "What systems told each other: what webhooks were sent (30 days at most), the details of "
        "calls' events, calls' `metadata`. Answers under an Idempotency-Key: a day in any case."
    )


class DialPolicySchema(Schema):
    """Whom the tenant's calls, transfers and forwards may reach."""

    countries = fields.List(
        _country_field(),
        allow_none=True,
        validate=validate.Length(max=len(phonenumbers.SUPPORTED_REGIONS)),
        metadata={
            "description": "null: the home country; without one, the country of the tenant's "
            "number that dials. An empty list: nobody.",
            "example": ["US", "GB"],
        },
    )
    per_minute = integer(
        1,
        1_000,
        allow_none=True,
        metadata={
            "description": f"null: {dialling.DEFAULT_PER_MINUTE}.",
            "example": dialling.DEFAULT_PER_MINUTE,
        },
    )
    per_day = integer(
        1,
        100_000,
        allow_none=True,
        metadata={
            "description": f"null: {dialling.DEFAULT_PER_DAY}.",
            "example": dialling.DEFAULT_PER_DAY,
        },
    )


class LimitsSchema(Schema):
    """How much the tenant may use; for platform keys to change."""

    concurrent_calls = integer(
        1, 10_000, allow_none=True, metadata={"description": "null: the plan's.", "example": 20}
    )
    numbers = integer(
        0, 100_000, allow_none=True, metadata={"description": "null: no limit.", "example": 50}
    )
    tokens_per_day = integer(
        1,
        1_000_000_000,
        allow_none=True,
        metadata={"description": "null: no limit.", "example": 2_000_000},
    )


class SettingsSchema(Schema):
    """A tenant's settings."""

    time_zone = fields.String(
        validate=[*string(1, 64).validators, _validate_time_zone],
        metadata={"example": "Europe/Berlin"},
    )
    home_country = _country_field(
        allow_none=True, metadata={"description": "ISO 3166 alpha-2.", "example": "US"}
    )
    sentences = fields.Nested(SentencesSchema)
    hours = fields.Nested(
        HoursSchema,
        allow_none=True,
        metadata={"description": "When calls are answered. null: at all times."},
    )
    retention_days = fields.Nested(RetentionSchema)
    dial_policy = fields.Nested(DialPolicySchema)
    variables = fields.Dict(
        keys=fields.String(validate=_VARIABLE),
        values=fields.String(
            allow_none=True, validate=string(0, 500).validators, metadata={"nullable": True}
        ),
        validate=validate.Length(max=MAX_VARIABLES),
        metadata={
            "description": "What prompts may say as `{{name}}`. null: removed.",
            "example": {"company": "Acme Dental"},
        },
    )
    notification_email = fields.Email(
        allow_none=True,
        validate=validate.Length(max=254),
        metadata={"description": "Where messages are sent to.", "example": "office@example.com"},
    )
    spend_cap = integer(
        1,
        1_000_000_000_000,
        allow_none=True,
        metadata={
            "description": "What the tenant may spend in a month (UTC), in the minor unit of its "
            "plan's currency. A call that would begin at or over it is not answered, as over any "
            "other limit; calls that are up go on. null: no cap.",
            "example": 20_000,
        },
    )
    limits = fields.Nested(
        LimitsSchema,
        metadata={
            "description": "Shown to all, changed by platform keys only.",
            "x-platform-only": True,
        },
    )
    updated_at = fields.AwareDateTime(dump_only=True)
