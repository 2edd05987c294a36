"""Request and response schemas of AI profiles."""

from typing import Any

from flask import current_app
from marshmallow import ValidationError, fields, validate

from vca.conversation.json_schema import UnusableSchema
from vca.kit import language_tags
from vca.kit.web import PageQuery, Schema
from vca.kit.web.parser import PointerStep
from vca.kit.web.schema import (
    LANGUAGE,
    Pattern,
    QueryBoolean,
    StrictBoolean,
    StrictNumber,
    diallable_number,
    integer,
    not_blank,
    string,
)
from vca.telephony.turn_settings import INTERRUPT_SENSITIVITIES, INTERRUPTION_SOURCES
from vca.tenant.ai_profiles import extract_schema
from vca.tenant.ai_profiles.models import ROLES, TOOLS

_TARGET_NAME = Pattern("^[a-z0-9][a-z0-9_ -]{0,39}$", error="Not a valid target name.")
_MIN_MASK_LENGTH = 3


def _validate_json_schema(value: dict[str, Any]) -> None:
    try:
        extract_schema.check_extract(value)
    except UnusableSchema as error:
        messages: Any = [f"Not a usable JSON Schema: {error.detail}"]
        for step in reversed(error.path):
            messages = {PointerStep(step): messages}
        raise ValidationError(messages) from None


def _validate_model(value: str) -> None:
    model_names = current_app.config["MODELS"]
    if value not in model_names:
        listed_names = ", ".join(model_names) or "none; leave the field null"
        raise ValidationError(
            f"This deployment does not offer this model. Available models: {listed_names}."
        )


class TransferTargetSchema(Schema):
    """A number to which the model may transfer a call, stored under a name that the model uses."""

    number = diallable_number(required=True)
    description = string(0, 200, load_default="")


def _validate_mask(value: str) -> None:
    if len(value.replace(" ", "")) < _MIN_MASK_LENGTH:
        raise ValidationError(
            f"Must have at least {_MIN_MASK_LENGTH} characters, not counting spaces."
        )


class RedactionSchema(Schema):
    """The parts of a conversation that are redacted before storage."""

    card_numbers = StrictBoolean(
        load_default=False,
        metadata={
            "description": "Redact numbers of 13 to 19 digits with a valid check digit, also when "
            "spelled out."
        },
    )
    email_addresses = StrictBoolean(
        load_default=False,
        metadata={"description": "Redact addresses, also when spoken as `a dot b at c dot com`."},
    )
    patterns = fields.List(
        fields.String(validate=[*string(1, 64).validators, _validate_mask]),
        load_default=list,
        validate=validate.Length(max=20),
        metadata={
            "description": "Masks of additional text to redact. `#` matches a digit, `@` a letter, "
            "and a space matches white space, a dash or nothing. Every other character matches "
            "itself, ignoring case.",
            "example": ["### ## ####"],
        },
    )


_SYSTEM_PROMPT = {
    "description": "The instructions of the agent. `{{name}}` is replaced by the variable of the "
    "tenant or the call, and `{{name|default}}` by the default if the variable is unknown or "
    "empty. VCA sets `caller_number`, `called_number`, `now` and `hours`, the opening hours in "
    "words. A variable `hours` of your own takes precedence.",
    "example": "You answer the telephone of Acme Dental in Springfield.",
}


class SpokenLanguageSchema(Schema):
    """A language that the agent may change to."""

    language = fields.String(
        required=True,
        validate=[validate.Length(2, 35), LANGUAGE],
        metadata={"description": "BCP 47 tag.", "example": "es-ES"},
    )
    voice = string(
        1,
        100,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Voice for this language, in the format of the profile's `voice`. null "
            "selects the carrier's default."
        },
    )


def _validate_languages(value: list[dict[str, Any]]) -> None:
    tags = [item["language"].lower() for item in value]
    if len(set(tags)) != len(tags):
        raise ValidationError("Contains a language twice.")


def _interruption_source(description: str) -> fields.String:
    return string(
        1,
        10,
        one_of=INTERRUPTION_SOURCES,
        load_default=None,
        allow_none=True,
        metadata={"description": description},
    )


def _optional_boolean(description: str) -> StrictBoolean:
    return StrictBoolean(load_default=None, allow_none=True, metadata={"description": description})


class TurnSettingsSchema(Schema):
    """How the carrier takes turns with the caller during a voice WebSocket."""

    end_ms = integer(
        600,
        5_000,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Silence in milliseconds after which the caller has finished. Twilio.",
            "example": 1200,
        },
    )
    interruptible = _interruption_source(
        "What interrupts the agent: `speech`, keys (`dtmf`), `any` of them, or `none`. Twilio and "
        "Telnyx; null is `any`."
    )
    greeting_interruptible = _interruption_source(
        "What interrupts the greeting. Twilio and Telnyx."
    )
    interrupt_sensitivity = string(
        1,
        10,
        one_of=INTERRUPT_SENSITIVITIES,
        load_default=None,
        allow_none=True,
        metadata={"description": "How easily speech interrupts the agent. Twilio."},
    )
    ignore_backchannel = _optional_boolean(
        'Whether short acknowledgements such as "yeah" are ignored while the agent speaks. Twilio.'
    )
    turn_detection = _optional_boolean(
        "Whether Twilio Turn Detection decides when the caller has finished. Twilio says that it "
        "is not PCI compliant and not HIPAA eligible."
    )
    echo_filter = _optional_boolean(
        "Whether recognized speech that repeats the agent's own words is dropped. Twilio."
    )
    languages = fields.List(
        fields.Nested(SpokenLanguageSchema),
        load_default=list,
        validate=[validate.Length(max=10), _validate_languages],
        metadata={
            "description": "Languages besides the profile's own that the agent changes to when the "
            "caller speaks them. Twilio, which recognizes them with Deepgram."
        },
    )


class AiProfileFields(Schema):
    """The fields that affect a call."""

    name = fields.String(
        validate=[*string(1, 100).validators, not_blank],
        metadata={"description": "Defaults to the role.", "example": "Front desk"},
    )
    role = string(1, 20, one_of=ROLES)
    system_prompt = fields.String(
        validate=[*string(1, 20_000).validators, not_blank],
        metadata=_SYSTEM_PROMPT,
    )
    greeting = string(
        1,
        1_000,
        allow_none=True,
        metadata={
            "description": "What the caller hears first. It can contain the variables of the "
            "prompt. null selects a greeting for the role and the language.",
            "example": "Acme Dental, good morning!",
        },
    )
    language = fields.String(
        allow_none=True,
        validate=[validate.Length(2, language_tags.MAX_LENGTH), LANGUAGE],
        metadata={
            "description": "BCP 47 tag of the language that the agent speaks and understands; null "
            "means English. A carrier speaks the nearest variant that it has. A language that no "
            "configured carrier speaks, or that the carrier of a number with this profile does "
            "not, is refused with `carrier-cannot`.",
            "example": "en-US",
        },
    )
    voice = string(
        1,
        100,
        allow_none=True,
        metadata={
            "description": "The carrier's name of a voice that speaks the language; null lets the "
            "carrier choose. Amazon's voices have the same name for all carriers. An unknown voice "
            "is refused as an unknown language is.",
            "example": "Polly.Joanna-Neural",
        },
    )
    model = fields.String(
        allow_none=True,
        validate=[*string(1, 100).validators, _validate_model],
        metadata={
            "description": "A model that this deployment offers. null selects the deployment's "
            "default model, which is also used when the model is no longer offered."
        },
    )
    temperature = StrictNumber(allow_none=True, validate=validate.Range(0, 2))
    max_duration_seconds = integer(10, 14_400, allow_none=True)
    max_turns = integer(1, 1_000, allow_none=True)
    silence_seconds = integer(1, 300, allow_none=True)
    end_phrases = fields.List(
        fields.String(validate=[*string(1, 100).validators, not_blank]),
        validate=validate.Length(max=50),
        metadata={
            "description": "Phrases that end the call if the caller says nothing else, except "
            'words of courtesy in the profile\'s language: "OK, thanks, goodbye." The model judges '
            "everything else, and ends the call with the tool `end_call`.",
            "example": ["goodbye"],
        },
    )
    tools = fields.List(
        fields.String(validate=validate.OneOf(TOOLS)),
        validate=validate.Length(max=len(TOOLS)),
        metadata={"description": "Tools that the model may call."},
    )
    transfer_targets = fields.Dict(
        keys=fields.String(validate=_TARGET_NAME),
        values=fields.Nested(TransferTargetSchema),
        validate=validate.Length(max=50),
    )
    extract = fields.Dict(
        keys=fields.String(),
        allow_none=True,
        validate=_validate_json_schema,
        metadata={
            "description": "JSON Schema (draft 2020-12) of the data to extract from each call, up "
            "to 20,000 bytes. A `$ref` must name a schema inside this one. `pattern`, "
            "`patternProperties` and `format` tell the model what is expected and are not checked. "
            "A schema that takes too much work to apply is refused; if it does so only with the "
            "data of a call, that call has no `data`."
        },
    )
    recording = StrictBoolean()
    consent_sentence = string(1, 1_000, allow_none=True)
    redaction = fields.Nested(
        RedactionSchema,
        metadata={
            "description": "Text to redact before turns, messages and summaries are stored, both "
            "of the caller and of the agent. The current turn is sent to the model unredacted; "
            "its history is redacted. A number that spans several turns is not recognized."
        },
    )
    turn = fields.Nested(
        TurnSettingsSchema,
        metadata={
            "description": "How the carrier takes turns with the caller, for calls over a voice "
            "WebSocket. null leaves the carrier's default. A change replaces the whole object. "
            "A field that a carrier does not support is refused for its numbers with 409 "
            "`carrier-cannot`."
        },
    )


class AiProfileSchema(AiProfileFields):
    """An AI profile."""

    id = fields.UUID(dump_only=True)
    tenant_id = fields.UUID(dump_only=True)
    version = fields.Integer(dump_only=True)
    is_default = StrictBoolean(
        metadata={
            "description": "Whether this profile answers phone numbers that have none of their own."
        }
    )
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class NewAiProfileSchema(AiProfileSchema):
    """The request to create an AI profile."""

    system_prompt = fields.String(
        required=True,
        validate=[*string(1, 20_000).validators, not_blank],
        metadata=_SYSTEM_PROMPT,
    )


class AiProfileVersionSchema(AiProfileFields):
    """The content of an AI profile at one version."""

    ai_profile_id = fields.UUID(dump_only=True)
    version = fields.Integer(dump_only=True)
    created_at = fields.AwareDateTime(dump_only=True)


class AiProfileQuery(PageQuery):
    """Query parameters of the list of AI profiles."""

    is_default = QueryBoolean()
    role = string(1, 20, one_of=ROLES)
