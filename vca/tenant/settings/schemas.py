"""A tenant's settings as the API shows and takes them."""

from zoneinfo import available_timezones

from marshmallow import ValidationError, fields

from vca.kit.web import Schema
from vca.kit.web.schema import not_blank, text

_ZONES = available_timezones() - {"localtime"}  # the machine's own, where a system has it


def _known_zone(name: str) -> None:
    if name not in _ZONES:
        raise ValidationError("Not an IANA time zone, as Europe/Berlin.")


def _sentence(description: str) -> fields.String:
    return fields.String(
        allow_none=True,
        validate=[*text(1, 1000).validators, not_blank],
        metadata={"description": f"{description} null: the default."},
    )


class SentencesSchema(Schema):
    """What callers hear when no agent speaks."""

    over_limit = _sentence("All lines are busy.")
    suspended = _sentence("The tenant is suspended.")
    closed = _sentence("The number is closed.")
    fallback = _sentence("Something failed on our side.")


class SettingsSchema(Schema):
    """A tenant's settings."""

    time_zone = fields.String(
        validate=[*text(1, 64).validators, _known_zone], metadata={"example": "Europe/Berlin"}
    )
    sentences = fields.Nested(SentencesSchema)
    updated_at = fields.AwareDateTime(dump_only=True)
