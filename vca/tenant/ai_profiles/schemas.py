"""AI profiles as the API shows and takes them."""

from typing import Any

from flask import current_app
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from marshmallow import ValidationError, fields, validate

from vca.kit import json
from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import (
    Pattern,
    QueryBoolean,
    StrictBoolean,
    StrictNumber,
    e164,
    integer,
    not_blank,
    string,
)
from vca.tenant.ai_profiles.models import ROLES, TOOLS

_LANGUAGE = Pattern("^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", error="Not a BCP 47 tag.")
_TARGET_NAME = Pattern("^[a-z0-9][a-z0-9_ -]{0,39}$", error="Not a name of a target.")
_MAX_EXTRACT_BYTES = 20_000
_MIN_MASK_LENGTH = 3


def _validate_json_schema(value: dict[str, Any]) -> None:
    if len(json.dumps(value)) > _MAX_EXTRACT_BYTES:
        raise ValidationError(f"Longer than {_MAX_EXTRACT_BYTES} bytes.")
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        raise ValidationError(f"Not a JSON Schema: {error.message[:200]}") from None
    except (RecursionError, OverflowError):  # what Python's re raises beside its own error
        raise ValidationError("Not a JSON Schema: a pattern in it is too large.") from None


def _validate_model(value: str) -> None:
    model_names = current_app.config["MODELS"]
    if value not in model_names:
        listed_names = ", ".join(model_names) or "none, so leave it null"
        raise ValidationError(f"Not a model of this deployment. It lists: {listed_names}.")


class TransferTargetSchema(Schema):
    """Where a call may be transferred to, under a name that the model may use."""

    number = e164(required=True)
    description = string(0, 200, load_default="")


def _validate_mask(value: str) -> None:
    if len(value.replace(" ", "")) < _MIN_MASK_LENGTH:
        raise ValidationError(f"Fewer than {_MIN_MASK_LENGTH} characters.")


class RedactionSchema(Schema):
    """What of that which is said is not kept."""

    card_numbers = StrictBoolean(
        load_default=False,
        metadata={"description": "Of 13 to 19 digits, written or spelt out, by their check digit."},
    )
    email_addresses = StrictBoolean(
        load_default=False, metadata={"description": "Written, or said as `a dot b at c dot com`."}
    )
    patterns = fields.List(
        fields.String(validate=[*string(1, 64).validators, _validate_mask]),
        load_default=list,
        validate=validate.Length(max=20),
        metadata={
            "description": "Masks: `#` is a digit, `@` a letter, a space is white space, a dash or "
            "nothing, everything else is itself, in capitals or not.",
            "example": ["### ## ####"],
        },
    )


class AiProfileFields(Schema):
    """What shapes a call."""

    name = fields.String(
        validate=[*string(1, 100).validators, not_blank],
        metadata={"description": "Default: the role.", "example": "Front desk"},
    )
    role = string(1, 20, one_of=ROLES)
    system_prompt = fields.String(
        validate=[*string(1, 20_000).validators, not_blank],
        metadata={"example": "You answer the telephone of Acme Dental in Springfield."},
    )
    greeting = string(1, 1_000, allow_none=True, metadata={"example": "Acme Dental, good morning!"})
    language = fields.String(
        allow_none=True,
        validate=[validate.Length(2, 35), _LANGUAGE],  # RFC 5646, 4.4.1
        metadata={"example": "en-US"},
    )
    voice = string(1, 100, allow_none=True)
    model = fields.String(
        allow_none=True,
        validate=[*string(1, 100).validators, _validate_model],
        metadata={
            "description": "One of those that the deployment lists; null: its own. A call made "
            "after a model was taken off the list uses the deployment's own."
        },
    )
    temperature = StrictNumber(allow_none=True, validate=validate.Range(0, 2))
    max_duration_seconds = integer(10, 14_400, allow_none=True)
    max_turns = integer(1, 1_000, allow_none=True)
    silence_seconds = integer(1, 300, allow_none=True)
    end_phrases = fields.List(
        fields.String(validate=[*string(1, 100).validators, not_blank]),
        validate=validate.Length(max=50),
        metadata={"example": ["goodbye"]},
    )
    tools = fields.List(
        fields.String(validate=validate.OneOf(TOOLS)),
        validate=validate.Length(max=len(TOOLS)),
        metadata={"description": "What the model may do."},
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
        metadata={"description": "A JSON Schema of what to note of each call."},
    )
    recording = StrictBoolean()
    consent_sentence = string(1, 1_000, allow_none=True)
    redaction = fields.Nested(
        RedactionSchema,
        metadata={
            "description": "Replaced before turns, messages and summaries are written, of the "
            "caller and of the agent. In the turn itself the model reads what was said, in later "
            "ones what was kept. A number that is spread over several turns is not recognised."
        },
    )


class AiProfileSchema(AiProfileFields):
    """A profile."""

    id = fields.UUID(dump_only=True)
    tenant_id = fields.UUID(dump_only=True)
    version = fields.Integer(dump_only=True)
    is_default = StrictBoolean(
        metadata={"description": "The profile that answers numbers which name none."}
    )
    created_at = fields.AwareDateTime(dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)


class NewAiProfileSchema(AiProfileSchema):
    """A profile to be made."""

    system_prompt = fields.String(
        required=True,
        validate=[*string(1, 20_000).validators, not_blank],
        metadata={"example": "You answer the telephone of Acme Dental in Springfield."},
    )


class AiProfileVersionSchema(AiProfileFields):
    """A profile as it was at one version."""

    ai_profile_id = fields.UUID(dump_only=True)
    version = fields.Integer(dump_only=True)
    created_at = fields.AwareDateTime(dump_only=True)


class AiProfileQuery(PageQuery):
    """Filters of the list of profiles."""

    is_default = QueryBoolean()
    role = string(1, 20, one_of=ROLES)
