"""Request and response schemas of a tenant's settings."""

from typing import Any
from zoneinfo import available_timezones

import phonenumbers
from marshmallow import ValidationError, fields, validate

from vca.conversation.localised_phrases import PHRASE_KEYS, PhraseKey
from vca.kit import language_tags
from vca.kit.web import Schema
from vca.kit.web.schema import (
    LANGUAGE,
    Pattern,
    email_address,
    integer,
    not_blank,
    string,
)
from vca.registry.caps import CAPS
from vca.tenant.settings import dialling, phrases
from vca.tenant.settings.hours_schema import HoursSchema
from vca.tenant.settings.service import MAX_VARIABLES

_VARIABLE = Pattern("^[a-z][a-z0-9_]{0,39}$", error="Not a valid variable name.")
_PHRASE_NAMES = ", ".join(f"`{name}`" for name in PHRASE_KEYS)
# Some systems list the machine's own zone. Factory stands for a zone that nobody has chosen.
_ZONES = available_timezones() - {"localtime", "Factory"}


def _validate_time_zone(name: str) -> None:
    if name not in _ZONES:
        raise ValidationError("Not an IANA time zone. Use a name such as Europe/Berlin.")


def _validate_country(code: str) -> None:
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise ValidationError("Not an ISO 3166 country code. Use a code such as DE.")


def _country_field(**options: Any) -> fields.String:
    return fields.String(validate=[*string(2, 2).validators, _validate_country], **options)


def _days_field(description: str) -> fields.Integer:
    field_metadata = {"description": f"{description} null means no deletion.", "example": 90}
    return integer(1, 3650, allow_none=True, metadata=field_metadata)


def _sentence_field(description: str) -> fields.String:
    return fields.String(
        allow_none=True,
        validate=[*string(1, 1000).validators, not_blank],
        metadata={
            "description": f"{description} null selects the default sentence, which callers hear "
            "in the language of the profile; the response has its English text."
        },
    )


def _validate_phrases(languages: dict[str, dict[PhraseKey, str | None] | None]) -> None:
    errors: dict[str, dict[str, list[str]]] = {}
    for language, texts in languages.items():
        if not language_tags.is_known_language(language):
            raise ValidationError({language: ["Not a known language."]})
        for name, text in (texts or {}).items():
            error = phrases.text_error(name, text) if text is not None else None
            if error is not None:
                errors.setdefault(language, {})[name] = [error]
    if errors:
        raise ValidationError(errors)


class SentencesSchema(Schema):
    """Sentences that callers hear when no agent answers, whatever the language."""

    over_limit = _sentence_field("Played when all lines are busy.")
    suspended = _sentence_field("Played when the tenant is suspended.")
    closed = _sentence_field("Played when the number is closed.")
    fallback = _sentence_field("Played after a failure on our side.")


class RetentionSchema(Schema):
    """The number of days after which data of a call is deleted."""

    transcripts = _days_field(
        "Days to keep transcripts, and the messages that were taken in calls."
    )
    recordings = _days_field("Days to keep recordings.")
    payloads = _days_field(
        "Days to keep webhook payloads (30 at most), details of call events, and the `metadata` "
        "of calls. Responses stored under an Idempotency-Key are always deleted after a day."
    )


def _countries_field(description: str, example: list[str]) -> "fields.List[Any]":
    return fields.List(
        _country_field(),
        allow_none=True,
        validate=validate.Length(max=len(phonenumbers.SUPPORTED_REGIONS)),
        metadata={"description": description, "example": example},
    )


class DialPolicySchema(Schema):
    """The numbers that the tenant's calls, transfers and forwards may dial.

    `limits.dialling` is a ceiling: of both, the narrower value applies. Changes that allow more
    need the scope `admin`.
    """

    countries = _countries_field(
        "Countries that may be dialled. null selects the home country or, "
        "without one, the country of the dialling number. A number that belongs to no country, "
        "such as a freephone number of +1, then dials the countries of the tenant's other "
        "numbers. An empty list allows none.",
        ["US", "GB"],
    )
    per_minute = integer(
        1,
        1_000,
        allow_none=True,
        metadata={
            "description": "Maximum of outbound legs per minute. null selects the default of "
            f"{dialling.DEFAULT_PER_MINUTE}.",
            "example": dialling.DEFAULT_PER_MINUTE,
        },
    )
    per_day = integer(
        1,
        100_000,
        allow_none=True,
        metadata={
            "description": "Maximum of outbound legs in 24 hours. null selects the default of "
            f"{dialling.DEFAULT_PER_DAY}.",
            "example": dialling.DEFAULT_PER_DAY,
        },
    )


class DiallingLimitsSchema(Schema):
    """The most that the tenant's `dial_policy` can allow, whatever the tenant sets."""

    countries = _countries_field(
        "The only countries that may be dialled. null means all. An empty list allows none.",
        ["US", "CA"],
    )
    per_minute = integer(
        1,
        1_000,
        allow_none=True,
        metadata={
            "description": "The most outbound legs per minute. null means no ceiling.",
            "example": 60,
        },
    )
    per_day = integer(
        1,
        100_000,
        allow_none=True,
        metadata={
            "description": "The most outbound legs in 24 hours. null means no ceiling.",
            "example": 1_000,
        },
    )


class LimitsSchema(Schema):
    """How much the tenant may use. Only platform keys can change limits."""

    concurrent_calls = integer(
        1,
        10_000,
        allow_none=True,
        metadata={
            "description": "Maximum of concurrent calls. null selects the plan's limit.",
            "example": 20,
        },
    )
    numbers = integer(
        0,
        100_000,
        allow_none=True,
        metadata={
            "description": "Maximum of phone numbers. null selects the default of "
            f"{CAPS['numbers'].maximum:,}.",
            "example": 50,
        },
    )
    tokens_per_day = integer(
        1,
        1_000_000_000,
        allow_none=True,
        metadata={
            "description": "Maximum of tokens per day. null means no limit.",
            "example": 2_000_000,
        },
    )
    simulated_tokens_per_day = integer(
        0,
        1_000_000_000,
        allow_none=True,
        metadata={
            "description": "Maximum of the model tokens that simulations, replays and their "
            "analyses use in a day of the tenant's time zone. null selects the deployment's "
            "default.",
            "example": 200_000,
        },
    )
    dialling = fields.Nested(
        DiallingLimitsSchema,
        allow_none=True,
        metadata={"description": "Ceiling of `dial_policy`. null removes it."},
    )


class SettingsSchema(Schema):
    """A tenant's settings."""

    time_zone = fields.String(
        validate=[*string(1, 64).validators, _validate_time_zone],
        metadata={"example": "Europe/Berlin"},
    )
    home_country = _country_field(
        allow_none=True,
        metadata={
            "description": "ISO 3166 alpha-2 code of the country that the tenant dials by default, "
            "and whose freephone numbers it dials.",
            "example": "US",
        },
    )
    sentences = fields.Nested(SentencesSchema)
    phrases = fields.Dict(
        keys=fields.String(validate=[validate.Length(2, language_tags.MAX_LENGTH), LANGUAGE]),
        values=fields.Dict(
            keys=fields.String(validate=validate.OneOf(PHRASE_KEYS)),
            values=fields.String(
                allow_none=True,
                validate=string(1, phrases.MAX_TEXT_CHARS).validators,
                metadata={"nullable": True},
            ),
            allow_none=True,
            metadata={"nullable": True},
        ),
        validate=_validate_phrases,
        metadata={
            "description": "Own texts for the sentences that VCA says, by BCP 47 language tag and "
            "the sentence's name. A profile uses those of the nearest tag of its language. They "
            "take precedence over `sentences`, and those over VCA's own texts. A text must have "
            "the placeholders of VCA's own (`{name}` in `hello_with_name`, no others) and no "
            "markup. null in place of a text or of a language removes it. All texts together can "
            f"have {phrases.MAX_TOTAL_CHARS:,} characters. Names: {_PHRASE_NAMES}.",
            "example": {"it": {"goodbye": "Grazie per aver chiamato Acme. Arrivederci."}},
        },
    )
    hours = fields.Nested(
        HoursSchema,
        allow_none=True,
        metadata={
            "description": "When calls are answered. Agents know it. null means at all times."
        },
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
            "description": "Values that prompts can use as `{{name}}` or `{{name|default}}`. null "
            "removes a variable.",
            "example": {"company": "Acme Dental"},
        },
    )
    notification_email = email_address(
        allow_none=True,
        metadata={
            "description": "Address to which messages are mailed. Its domain may be international; "
            "the part before the @ is ASCII."
        },
    )
    spend_cap = integer(
        1,
        1_000_000_000_000,
        allow_none=True,
        metadata={
            "description": "The most that the tenant may spend in a month (UTC), in the minor "
            "unit of its plan's currency. Calls that would begin at or above the cap are not "
            "answered, as with any other limit; live calls continue. null means no cap. "
            "Raising or removing the cap needs the scope `admin`.",
            "example": 20_000,
        },
    )
    limits = fields.Nested(
        LimitsSchema,
        metadata={
            "description": "Visible to all keys. Only platform keys can change it.",
            "x-platform-only": True,
        },
    )
    updated_at = fields.AwareDateTime(dump_only=True)
