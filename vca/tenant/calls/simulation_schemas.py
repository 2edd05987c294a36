"""Schemas of simulations and replays in the API."""

from typing import Any, get_args

from marshmallow import ValidationError, fields, validate, validates_schema

from vca.kit.web import Schema
from vca.kit.web.schema import DateTime, Pattern, Uuid, e164, integer, string
from vca.tenant.calls.core.models import DIRECTIONS
from vca.tenant.calls.core.simulations import TransferOutcome
from vca.tenant.calls.core.state_machine import END_REASONS, STATUS_RANKS
from vca.tenant.calls.schemas import VARIABLE_NAME, RefusedToolSchema
from vca.tenant.calls.simulation.comparison import StoppedEarly


class SimulationOptionsSchema(Schema):
    """How a simulated call or a replay differs from a real call."""

    version = integer(
        1,
        2_147_483_647,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "A version of `ai_profile_id`. Default: the profile's current version.",
            "example": None,
        },
    )
    moment = DateTime(
        data_key="at",
        load_default=None,
        allow_none=True,
        metadata={
            "description": "What the call's clock shows at its start, for its route, opening hours "
            "and prompt. The times of its record are real. Default: now.",
            "example": "2026-12-24T20:00:00+01:00",
        },
    )
    variables = fields.Dict(
        keys=fields.String(validate=VARIABLE_NAME),
        values=string(0, 500),
        load_default=dict,
        validate=validate.Length(max=50),
        metadata={
            "description": "Override the tenant's variables in this call. Prompts use each as "
            "`{{name}}`. Stored as the call's `metadata`.",
            "example": {"order": "A-1042"},
        },
    )
    transfer_outcome = string(
        1,
        20,
        one_of=get_args(TransferOutcome),
        load_default=None,
        allow_none=True,
        metadata={
            "description": "How each transfer of the agent ends at once. null: a simulation waits "
            "for `POST …/outcome`, and a replay continues as after `no_answer`."
        },
    )


class SimulationSchema(SimulationOptionsSchema):
    """A simulated call."""

    direction = string(
        1,
        20,
        one_of=DIRECTIONS,
        load_default="inbound",
        metadata={
            "description": "`inbound`: somebody calls the tenant. `outbound`: the tenant calls "
            "somebody, and they answer.",
            "example": "outbound",
        },
    )
    to = e164(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "The number that is called: the tenant's, or anybody's in an outbound "
            "call. null: the AI profile answers without a number and a route."
        },
    )
    caller = e164(
        data_key="from",
        load_default=None,
        allow_none=True,
        metadata={
            "description": "The caller's number. null: it is withheld. Not used in an outbound "
            "call, whose caller is `from_phone_number_id`.",
            "example": "+14155550123",
        },
    )
    from_phone_number_id = Uuid(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "The tenant's phone number that an outbound call comes from. Required "
            "for outbound calls, and not allowed for inbound ones."
        },
    )
    ai_profile_id = Uuid(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "The AI profile that answers wherever an agent does. It need not belong "
            "to the number. Required without `to`. null: the number's, else the default one."
        },
    )

    @validates_schema
    def _check_combinations(self, data: dict[str, Any], **_: Any) -> None:
        required_names = ("to", "from_phone_number_id") if data["direction"] == "outbound" else ()
        errors = {
            name: ["Required if `direction` is `outbound`."]
            for name in required_names
            if data[name] is None
        }
        if data["direction"] == "inbound" and data["from_phone_number_id"] is not None:
            errors["from_phone_number_id"] = ["Only allowed if `direction` is `outbound`."]
        if data["direction"] == "inbound" and data["to"] is None and data["ai_profile_id"] is None:
            errors["to"] = ["Required without `ai_profile_id`."]
        if data["version"] is not None and data["ai_profile_id"] is None:
            errors["ai_profile_id"] = ["Required with `version`."]
        if errors:
            raise ValidationError(errors)


class SimulatedTurnSchema(Schema):
    """What the caller got."""

    status = string(1, 20, one_of=STATUS_RANKS)
    reply = fields.String(metadata={"example": "Acme Dental, good morning!"})
    actions = fields.List(
        fields.Dict(),
        metadata={
            "description": "The actions of the agent's turns, as `GET …/turns` returns them. "
            "Besides their kinds, `kind` is `forward` (`forward_to` is not dialled), "
            "`take_voicemail` (the next turn is the voicemail) or `reject` (the call was not "
            "answered).",
            "example": [{"kind": "transfer", "target": "front desk"}],
        },
    )
    end_reason = string(1, 40, one_of=END_REASONS, allow_none=True)


class SimulatedSchema(SimulatedTurnSchema):
    """A simulated call, with what the caller heard first."""

    call_id = fields.UUID()


class SpeechSchema(Schema):
    """What the caller says or presses: `text` or `keys`, not both."""

    text = string(
        1,
        2_000,
        metadata={
            "description": "What the caller says. After `take_voicemail` it is the voicemail.",
            "example": "I need an appointment.",
        },
    )
    keys = fields.String(
        validate=Pattern("^[0-9*#]{1,32}$", error="Not 1 to 32 of 0-9, * and #."),
        metadata={"description": "Keys that the caller presses instead.", "example": "1#"},
    )

    @validates_schema
    def _check_one_input(self, data: dict[str, Any], **_: Any) -> None:
        if len(data) != 1:
            raise ValidationError({key: ["Send `text` or `keys`."] for key in ("text", "keys")})


class TransferOutcomeSchema(Schema):
    """How a transfer ends."""

    transfer_outcome = string(
        1,
        20,
        one_of=get_args(TransferOutcome),
        required=True,
        metadata={
            "description": "`answers`: the caller talks to the target, and the simulation ends. "
            "Otherwise the caller returns to the agent, as the transfer's `on_failure` says.",
            "example": "no_answer",
        },
    )


class ReplaySchema(SimulationOptionsSchema):
    """The AI profile that answers the caller in the replay."""

    ai_profile_id = Uuid(required=True)


class TokensSchema(Schema):
    """Model tokens that replies used."""

    input = fields.Integer()
    output = fields.Integer()


class ReplaySideSchema(Schema):
    """The original call or the replay."""

    ai_profile_id = fields.UUID(allow_none=True)
    ai_profile_version = fields.Integer(allow_none=True)
    greeting = fields.String(allow_none=True)
    end_reason = string(1, 40, one_of=END_REASONS, allow_none=True)
    tokens = fields.Nested(TokensSchema)
    latency = fields.Dict(
        allow_none=True, metadata={"description": "Milliseconds per stage of a turn."}
    )


class ReplayAnswerSchema(Schema):
    """The agent's reply to an utterance."""

    text = fields.String()
    latency_ms = fields.Dict(keys=fields.String(), values=fields.Integer())
    tokens = fields.Nested(TokensSchema)
    actions = fields.List(fields.Dict())
    refused_tools = fields.List(fields.Nested(RefusedToolSchema))


class ReplayTurnSchema(Schema):
    """An utterance with both replies. null: the agent did not reply."""

    sequence = fields.Integer(
        metadata={"description": "Sequence of the caller's turn in the original call."}
    )
    caller = fields.String()
    original = fields.Nested(ReplayAnswerSchema, allow_none=True)
    replay = fields.Nested(ReplayAnswerSchema, allow_none=True)


class ReplayedSchema(Schema):
    """A call and its replay, side by side."""

    call_id = fields.UUID()
    replay_call_id = fields.UUID()
    complete = fields.Boolean(
        metadata={
            "description": "false: the time limit was reached, or the simulated tokens of the day "
            "are used up."
        }
    )
    stopped_early = string(
        1,
        20,
        one_of=get_args(StoppedEarly),
        allow_none=True,
        metadata={
            "description": "Why not all utterances were repeated: the replay ended early (see its "
            "`end_reason`), the time limit was reached, or the tenant's simulated tokens of the "
            "day are used up. null: all were repeated."
        },
    )
    original = fields.Nested(ReplaySideSchema)
    replay = fields.Nested(ReplaySideSchema)
    turns = fields.List(fields.Nested(ReplayTurnSchema))
