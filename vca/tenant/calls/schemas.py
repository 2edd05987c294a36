"""Schemas of calls in the API."""

from typing import Any, get_args

from marshmallow import fields, validate
from typing_extensions import override

from vca.conversation.analysis import CallOutcome
from vca.conversation.types import ToolRefusal
from vca.kit.web import PageQuery, Schema
from vca.kit.web.access import caller_has_scope
from vca.kit.web.schema import (
    DateTime,
    Pattern,
    QueryBoolean,
    Uuid,
    diallable_number,
    e164,
    integer,
    not_blank,
)
from vca.kit.web.schema import string as string
from vca.telephony.types import LegOutcome
from vca.tenant.calls.core import analysis_state
from vca.tenant.calls.core.call_transfer import OnFailure
from vca.tenant.calls.core.models import CALLER_IDS, DIRECTIONS, EVENT_TYPES
from vca.tenant.calls.core.serializers import PlacedCall
from vca.tenant.calls.core.state_machine import END_REASONS, STATUS_RANKS, TERMINAL
from vca.tenant.recordings.models import STATUSES

RECORDING_STATUSES = ("none", "recording", *STATUSES)
TRANSFER_STATUSES = ("dialling", "completed", "carrier_error", *get_args(LegOutcome))
VARIABLE_NAME = Pattern(
    "^[a-z][a-z0-9_]{0,39}$", error="Not a variable name: a-z, then up to 39 of a-z, 0-9 and _."
)
_WITHHELD = dict.fromkeys(("summary", "data", "metadata"))
DECISIONS = ("agent", "forward", "voicemail", "closed", "refused")


class RuleSchema(Schema):
    """The result of one routing rule."""

    rule = fields.String()
    verdict = string(1, 20, one_of=("passed", "decided"))
    why = fields.String()


class RouteSchema(Schema):
    """How a call is answered, with the result of every rule that was evaluated."""

    decision = string(1, 20, one_of=DECISIONS)
    end_reason = string(1, 40, one_of=END_REASONS, allow_none=True)
    forward_to = fields.String(allow_none=True)
    ai_profile_id = fields.UUID(allow_none=True)
    ai_profile_version = fields.Integer(allow_none=True)
    rules = fields.List(fields.Nested(RuleSchema))


class RecordingSchema(Schema):
    """The status of a call's recording."""

    status = string(
        1,
        20,
        one_of=RECORDING_STATUSES,
        metadata={"description": "`none`: not recorded. `recording`: the call is live."},
    )


class TransferStateSchema(Schema):
    """The last transfer of a call: its target and its status."""

    target = fields.String()
    status = string(1, 20, one_of=TRANSFER_STATUSES)
    on_failure = string(1, 20, one_of=get_args(OnFailure))
    started_at = fields.AwareDateTime()


def _duration_seconds(call: Any) -> int | None:
    """Return the seconds from answer to end, or None while either is unknown."""
    if call.answered_at is None or call.ended_at is None:
        return None
    lasted_s: float = (call.ended_at - call.answered_at).total_seconds()
    return max(0, round(lasted_s))


def _recording(call: Any) -> dict[str, str]:
    """Return the recording status. A call that has just ended has none until it is loaded again."""
    status = getattr(call, "recording", None)
    if status is None:
        status = "recording" if call.recording_status and call.status not in TERMINAL else "none"
    return {"status": status}


def _analysis(call: Any) -> analysis_state.AnalysisState:
    return analysis_state.read_state(call.analysis_status, call.analysis_reason, call.analysed_at)


def _transfer(call: Any) -> dict[str, Any] | None:
    """Return the transfer without its number, which readers of calls need not know."""
    if call.transfer is None:
        return None
    return {name: call.transfer.get(name) for name in TransferStateSchema().fields}


def _is_content_withheld(call: Any) -> bool:
    """Return whether the key of the request may not see the call's content.

    A key sees the content that it has just sent itself.
    """
    return not isinstance(call, PlacedCall) and not caller_has_scope("content")


class AnalysisSchema(Schema):
    """The state of a call's post-call analysis."""

    status = string(
        1,
        20,
        one_of=analysis_state.STATUSES,
        metadata={
            "description": "`pending`: from the end of the call until a job has analysed it. "
            "`none`: there is nothing to analyse, or nothing to analyse it with.",
            "example": "done",
        },
    )
    reason = string(
        1,
        20,
        one_of=analysis_state.REASONS,
        allow_none=True,
        metadata={
            "description": "`no_model`: the agent is a script, or the call is simulated and the "
            "tenant's simulated tokens of the day were used up. `no_words`: the caller said "
            "nothing. `model_failed`: the model did not answer, also not in a later attempt. "
            "`bad_answer`: its answer could not be used. `forgotten`: the transcript was deleted; "
            "with `done`, the summary and the data too.",
            "example": None,
        },
    )


class CallSchema(Schema):
    """A call."""

    computed = {
        "analysis": _analysis,
        "content_withheld": _is_content_withheld,
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
        dump_only=True,
        allow_none=True,
        metadata={"description": "The carrier's own code for the end of the call."},
    )
    caller_number = fields.String(
        dump_only=True, allow_none=True, metadata={"example": "+14155550123"}
    )
    caller_id = string(1, 20, one_of=CALLER_IDS, dump_only=True)
    called_number = fields.String(
        dump_only=True,
        metadata={
            "description": "Empty in a simulation that was started without a number.",
            "example": "+14155550100",
        },
    )
    provider_type = fields.String(dump_only=True)
    provider_call_id = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={"description": "The carrier's call id. null: not dialled yet."},
    )
    telephony_account_id = fields.UUID(
        dump_only=True,
        allow_none=True,
        metadata={"description": "The tenant's telephony account. null: the deployment's account."},
    )
    simulated = fields.Boolean(dump_only=True)
    started_at = fields.AwareDateTime(dump_only=True)
    answered_at = fields.AwareDateTime(dump_only=True, allow_none=True)
    ended_at = fields.AwareDateTime(dump_only=True, allow_none=True)
    duration_seconds = fields.Integer(
        dump_only=True, allow_none=True, metadata={"description": "Seconds from answer to end."}
    )
    route = fields.Nested(RouteSchema, dump_only=True)
    metadata = fields.Dict(
        dump_only=True,
        allow_none=True,
        attribute="call_metadata",
        metadata={"description": "null: the API key lacks the scope `content`."},
    )
    latency = fields.Dict(
        dump_only=True,
        allow_none=True,
        metadata={"description": "Milliseconds per stage of a turn, after the end of the call."},
    )
    recording = fields.Nested(RecordingSchema, dump_only=True)
    transfer = fields.Nested(TransferStateSchema, dump_only=True, allow_none=True)
    tokens = fields.Integer(
        dump_only=True, metadata={"description": "Model tokens, including post-call analysis."}
    )
    summary = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "By the analysis, in the profile's language. null: none, or the API key "
            "lacks the scope `content`."
        },
    )
    outcome = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={"description": ", ".join(get_args(CallOutcome)), "example": "resolved"},
    )
    data = fields.Dict(
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "What the profile's `extract` asks for. null: not determined, or the "
            "API key lacks the scope `content`."
        },
    )
    analysis = fields.Nested(AnalysisSchema, dump_only=True)
    content_withheld = fields.Boolean(
        dump_only=True,
        metadata={
            "description": "Whether `summary`, `data` and `metadata` are null because the API key "
            "lacks the scope `content`.",
            "example": False,
        },
    )

    @override
    def _dump_item(self, item: Any) -> dict[str, Any]:
        dumped = super()._dump_item(item)
        if dumped["content_withheld"]:
            dumped.update(_WITHHELD)
        return dumped


class CallEventSchema(Schema):
    """An event of a call."""

    id = fields.UUID(dump_only=True)
    event_type = string(1, 20, one_of=EVENT_TYPES, dump_only=True)
    timestamp = fields.AwareDateTime(dump_only=True)
    details = fields.Dict(dump_only=True)


class RefusedToolSchema(Schema):
    """A tool call of the model that was not executed: the name as it wrote it, and the reason."""

    name = fields.String(dump_only=True, metadata={"description": "Cleaned and cut."})
    reason = string(
        1,
        20,
        one_of=get_args(ToolRefusal),
        dump_only=True,
        metadata={"description": "`not_allowed`: by the profile, or the caller dictated the call."},
    )


class TurnSchema(Schema):
    """One utterance of the caller or the agent."""

    sequence = fields.Integer(dump_only=True)
    speaker = string(1, 20, one_of=("caller", "agent"), dump_only=True)
    text = fields.String(dump_only=True)
    heard_text = fields.String(
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "What the caller heard of it before interrupting. null: not interrupted."
        },
    )
    started_at = fields.AwareDateTime(dump_only=True)
    latency_ms = fields.Dict(keys=fields.String(), values=fields.Integer(), dump_only=True)
    tokens = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        dump_only=True,
        metadata={"description": "`input` and `output`, if the model reported them."},
    )
    actions = fields.List(
        fields.Dict(),
        dump_only=True,
        metadata={
            "description": "Actions of the agent after this turn. `kind` is `hang_up`, "
            "`transfer`, `take_message` or `to_fallback`.",
            "example": [{"kind": "transfer", "target": "front desk"}],
        },
    )
    refused_tools = fields.List(
        fields.Nested(RefusedToolSchema),
        dump_only=True,
        metadata={"description": "Tool calls of the model that were not executed."},
    )


class CallQuery(PageQuery):
    """Filters for listing calls."""

    status = string(1, 20, one_of=STATUS_RANKS)
    direction = string(1, 20, one_of=DIRECTIONS)
    end_reason = string(1, 40, one_of=END_REASONS)
    phone_number_id = Uuid()
    ai_profile_id = Uuid()
    caller_number = e164(
        metadata={
            "description": "The caller's number. The two spellings of a mobile number of Mexico, "
            "Argentina or Brazil, such as +52 and +521, find the same calls."
        }
    )
    simulated = QueryBoolean()
    started_after = DateTime(attribute="started_at__gt")
    started_before = DateTime(attribute="started_at__lt")


class NewCallSchema(Schema):
    """An outbound call."""

    to = diallable_number(required=True)
    from_phone_number_id = Uuid(
        required=True, metadata={"description": "The tenant's phone number to call from."}
    )
    ai_profile_id = Uuid(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "The AI profile that talks. null: the number's, else the default one."
        },
    )
    metadata = fields.Dict(
        keys=fields.String(validate=VARIABLE_NAME),
        values=string(0, 500),
        load_default=dict,
        validate=validate.Length(max=50),
        metadata={
            "description": "Stored with the call. Prompts can use each value as `{{name}}` or "
            "`{{name|default}}`.",
            "example": {"order": "A-1042"},
        },
    )


class TransferSchema(Schema):
    """The target of a transfer."""

    target = string(1, 40, required=True, metadata={"example": "sales"})
    timeout_seconds = integer(5, 120, load_default=25)
    on_failure = string(1, 20, one_of=("return", "message", "fallback"), load_default="return")


class WordsSchema(Schema):
    """A text for the agent to say."""

    text = fields.String(
        required=True,
        validate=[*string(1, 1_000).validators, not_blank],
        metadata={"example": "Your table is ready."},
    )


class KeysSchema(Schema):
    """Keys to send as DTMF tones."""

    digits = fields.String(
        required=True,
        validate=Pattern("^[0-9*#]{1,32}$", error="Not 1 to 32 of 0-9, * and #."),
        metadata={"example": "1#"},
    )


class ExplainSchema(Schema):
    """A call whose route is to be explained."""

    to = e164(required=True)
    caller = e164(data_key="from", load_default=None, allow_none=True)
    at = DateTime(load_default=None, allow_none=True, metadata={"description": "Default: now."})
