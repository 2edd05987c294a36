"""Calls as the API shows them, and what simulations take."""

from typing import Any, get_args

from marshmallow import fields, validate

from vca.kit.web import PageQuery, Schema
from vca.kit.web.schema import DateTime, Pattern, QueryBoolean, Uuid, e164, integer, not_blank
from vca.kit.web.schema import string as string
from vca.telephony.types import LegOutcome
from vca.tenant.calls.core.models import CALLER_IDS, DIRECTIONS, EVENT_TYPES
from vca.tenant.calls.core.state_machine import END_REASONS, STATUS_RANKS, TERMINAL
from vca.tenant.calls.turns.transfers import OnFailure
from vca.tenant.recordings.models import STATUSES

RECORDING_STATUSES = ("none", "recording", *STATUSES)
TRANSFER_STATUSES = ("dialling", "completed", "carrier_error", *get_args(LegOutcome))
_VARIABLE_NAME = Pattern("^[a-z][a-z0-9_]{0,39}$", error="Not a name of a variable.")
DECISIONS = ("agent", "forward", "voicemail", "closed", "refused")


class RuleSchema(Schema):
    """One rule of the route."""

    rule = fields.String()
    verdict = string(1, 20, one_of=("passed", "decided"))
    why = fields.String()


class RouteSchema(Schema):
    """How a call is answered, with every rule that was tried and why."""

    decision = string(1, 20, one_of=DECISIONS)
    end_reason = string(1, 40, one_of=END_REASONS, allow_none=True)
    forward_to = fields.String(allow_none=True)
    ai_profile_id = fields.UUID(allow_none=True)
    ai_profile_version = fields.Integer(allow_none=True)
    rules = fields.List(fields.Nested(RuleSchema))


class RecordingSchema(Schema):
    """Whether the call's audio is kept."""

    status = string(
        1,
        20,
        one_of=RECORDING_STATUSES,
        metadata={"description": "`none`: the call was not recorded; `recording`: it goes on."},
    )


class TransferStateSchema(Schema):
    """The last transfer of a call: to which of the profile's targets, and what came of it."""

    target = fields.String()
    status = string(1, 20, one_of=TRANSFER_STATUSES)
    on_failure = string(1, 20, one_of=get_args(OnFailure))
    started_at = fields.AwareDateTime()


def _duration_seconds(call: Any) -> int | None:
    """From answered to ended; None while either is unknown."""
    if call.answered_at is None or call.ended_at is None:
        return None
    lasted_s: float = (call.ended_at - call.answered_at).total_seconds()
    return max(0, round(lasted_s))


def _recording(call: Any) -> dict[str, str]:
    """Of a call that was looked up its recording is known; one that has just ended has none yet."""
    status = getattr(call, "recording", None)
    if status is None:
        status = "recording" if call.recording_status and call.status not in TERMINAL else "none"
    return {"status": status}


def _transfer(call: Any) -> dict[str, Any] | None:
    """Without the number: who may read calls need not know whom they reach."""
    if call.transfer is None:
        return None
    return {name: call.transfer.get(name) for name in TransferStateSchema().fields}


class CallSchema(Schema):
    """A call."""

    computed = {
        "duration_seconds": _duration_seconds,
        "recording": _recording,
        "transfer": _transfer,
    }

    id = fields.UUID(dump_only=True)
    tenant_id = fields.UUID(dump_only=True)
    phone_number_id = fields.UUID(dump_only=True, allow_none=True)
    ai_profile_id = fields.UUID(dump_only=True, allow_none=True)
    ai_profile_version = fields.Integer(dump_only=True, allow_none=True)
    direction = string(1, 20, one_of=DIRECTIONS, dump_only=True)
    status = string(1, 20, one_of=STATUS_RANKS, dump_only=True)
    end_reason = string(1, 40, one_of=END_REASONS, dump_only=True, allow_none=True)
    end_detail = fields.String(
        dump_only=True, allow_none=True, metadata={"description": "The carrier's own code."}
    )
    caller_number = fields.String(
        dump_only=True, allow_none=True, metadata={"example": "+14155550123"}
    )
    caller_id = string(1, 20, one_of=CALLER_IDS, dump_only=True)
    called_number = fields.String(dump_only=True, metadata={"example": "+14155550100"})
    provider_type = fields.String(dump_only=True)
    provider_call_id = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={"description": "null: its carrier has not been asked yet."},
    )
    telephony_account_id = fields.UUID(
        dump_only=True,
        allow_none=True,
        metadata={"description": "The tenant's account that holds it. null: the deployment's."},
    )
    simulated = fields.Boolean(dump_only=True)
    started_at = fields.AwareDateTime(dump_only=True)
    answered_at = fields.AwareDateTime(dump_only=True, allow_none=True)
    ended_at = fields.AwareDateTime(dump_only=True, allow_none=True)
    duration_seconds = fields.Integer(
        dump_only=True, allow_none=True, metadata={"description": "From answered to ended."}
    )
    route = fields.Nested(RouteSchema, dump_only=True)
    metadata = fields.Dict(dump_only=True, attribute="call_metadata")
    latency = fields.Dict(
        dump_only=True,
        allow_none=True,
        metadata={"description": "Milliseconds by stage of a turn, once the call is over."},
    )
    recording = fields.Nested(RecordingSchema, dump_only=True)
    transfer = fields.Nested(TransferStateSchema, dump_only=True, allow_none=True)
    tokens = fields.Integer(
        dump_only=True, metadata={"description": "What the call has cost, its summary included."}
    )
    summary = fields.String(dump_only=True, allow_none=True)
    outcome = fields.String(dump_only=True, allow_none=True)
    data = fields.Dict(dump_only=True, allow_none=True)


class CallEventSchema(Schema):
    """Something that happened to a call."""

    id = fields.UUID(dump_only=True)
    event_type = string(1, 20, one_of=EVENT_TYPES, dump_only=True)
    timestamp = fields.AwareDateTime(dump_only=True)
    details = fields.Dict(dump_only=True)


class TurnSchema(Schema):
    """One thing that was said."""

    sequence = fields.Integer(dump_only=True)
    speaker = string(1, 20, one_of=("caller", "agent"), dump_only=True)
    text = fields.String(dump_only=True)
    heard_text = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={"description": "What was heard of it, when it was interrupted."},
    )
    started_at = fields.AwareDateTime(dump_only=True)
    latency_ms = fields.Dict(keys=fields.String(), values=fields.Integer(), dump_only=True)
    tokens = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        dump_only=True,
        metadata={"description": "`input` and `output`, where the model told."},
    )
    actions = fields.List(
        fields.Dict(),
        dump_only=True,
        metadata={
            "description": "What the agent did after it, each with its `kind`: `hang_up`, "
            "`transfer`, `take_message` or `to_fallback`.",
            "example": [{"kind": "transfer", "target": "front desk"}],
        },
    )


class CallQuery(PageQuery):
    """Filters of the list of calls."""

    status = string(1, 20, one_of=STATUS_RANKS)
    direction = string(1, 20, one_of=DIRECTIONS)
    end_reason = string(1, 40, one_of=END_REASONS)
    phone_number_id = Uuid()
    ai_profile_id = Uuid()
    caller_number = string(1, 20)
    simulated = QueryBoolean()
    started_after = DateTime(attribute="started_at__gt")
    started_before = DateTime(attribute="started_at__lt")


class NewCallSchema(Schema):
    """A call to be made."""

    to = e164(required=True)
    from_phone_number_id = Uuid(
        required=True, metadata={"description": "The tenant's number that calls."}
    )
    ai_profile_id = Uuid(
        load_default=None,
        allow_none=True,
        metadata={"description": "Who talks. null: the number's profile, else the default."},
    )
    metadata = fields.Dict(
        keys=fields.String(validate=_VARIABLE_NAME),
        values=string(0, 500),
        load_default=dict,
        validate=validate.Length(max=50),
        metadata={
            "description": "Kept on the call; the prompt may name each as `{{name}}`.",
            "example": {"order": "A-1042"},
        },
    )


class TransferSchema(Schema):
    """Where a live call shall go."""

    target = string(1, 40, required=True, metadata={"example": "sales"})
    timeout_seconds = integer(5, 120, load_default=25)
    on_failure = string(1, 20, one_of=("return", "message", "fallback"), load_default="return")


class WordsSchema(Schema):
    """What the agent shall say."""

    text = fields.String(
        required=True,
        validate=[*string(1, 1_000).validators, not_blank],
        metadata={"example": "Your table is ready."},
    )


class KeysSchema(Schema):
    """What shall be pressed."""

    digits = fields.String(
        required=True,
        validate=Pattern("^[0-9*#]{1,32}$", error="Not keys: 1 to 32 of 0-9, * and #."),
        metadata={"example": "1#"},
    )


class SimulationSchema(Schema):
    """A simulated call to be made."""

    to = e164(required=True)
    caller = e164(
        data_key="from",
        load_default=None,
        allow_none=True,
        metadata={"description": "null: the number is withheld.", "example": "+14155550123"},
    )


class LineActionSchema(Schema):
    """What the line does after the words."""

    type = fields.String()


class SimulatedSchema(Schema):
    """A simulated call that rings: what the agent says first."""

    call_id = fields.UUID()
    status = string(1, 20, one_of=STATUS_RANKS)
    reply = fields.String(metadata={"example": "Acme Dental, good morning!"})


class SpeechSchema(Schema):
    """What the caller says."""

    text = string(1, 2_000, required=True, metadata={"example": "I need an appointment."})


class SimulatedTurnSchema(Schema):
    """What the agent answers."""

    status = string(1, 20, one_of=STATUS_RANKS)
    reply = fields.String()
    actions = fields.List(fields.Nested(LineActionSchema))


class ReplaySchema(Schema):
    """Who shall answer the caller of a finished call now."""

    ai_profile_id = Uuid(required=True)
    version = integer(
        1,
        2_147_483_647,
        load_default=None,
        allow_none=True,
        metadata={"description": "Default: the profile's present one.", "example": None},
    )


class TokensSchema(Schema):
    """What answers have cost, in the model's tokens."""

    input = fields.Integer()
    output = fields.Integer()


class ReplaySideSchema(Schema):
    """One of the two calls."""

    ai_profile_id = fields.UUID(allow_none=True)
    ai_profile_version = fields.Integer(allow_none=True)
    greeting = fields.String(allow_none=True)
    end_reason = string(1, 40, one_of=END_REASONS, allow_none=True)
    tokens = fields.Nested(TokensSchema)
    latency = fields.Dict(
        allow_none=True, metadata={"description": "Milliseconds by stage of a turn."}
    )


class ReplayAnswerSchema(Schema):
    """What an agent answered to a turn of the caller's."""

    text = fields.String()
    latency_ms = fields.Dict(keys=fields.String(), values=fields.Integer())
    tokens = fields.Nested(TokensSchema)
    actions = fields.List(fields.Dict())


class ReplayTurnSchema(Schema):
    """What the caller said, and both answers; null where none was given any more."""

    sequence = fields.Integer(metadata={"description": "Of the caller's turn in the original."})
    caller = fields.String()
    original = fields.Nested(ReplayAnswerSchema, allow_none=True)
    replay = fields.Nested(ReplayAnswerSchema, allow_none=True)


class ReplayedSchema(Schema):
    """A call and its replay, side by side."""

    call_id = fields.UUID()
    replay_call_id = fields.UUID()
    complete = fields.Boolean(metadata={"description": "false: the time was over."})
    stopped_early = string(
        1,
        20,
        one_of=("call_ended", "out_of_time"),
        allow_none=True,
        metadata={
            "description": "Why the caller could not say everything: the replay's agent has ended "
            "the call (its `end_reason` tells why), or the time was over."
        },
    )
    original = fields.Nested(ReplaySideSchema)
    replay = fields.Nested(ReplaySideSchema)
    turns = fields.List(fields.Nested(ReplayTurnSchema))


class ExplainSchema(Schema):
    """The call whose route is to be explained."""

    to = e164(required=True)
    caller = e164(data_key="from", load_default=None, allow_none=True)
    at = DateTime(load_default=None, allow_none=True, metadata={"description": "Default: now."})
