"""What a number's decision webhook answers, read as strictly as any stranger's words."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from vca.kit import json
from vca.kit.http import HttpResponse
from vca.kit.json import InvalidJson
from vca.kit.text import sanitize
from vca.kit.web import Schema
from vca.kit.web.schema import Pattern, Uuid, e164, string
from vca.tenant.calls.routing.routing_rules import WebhookDecision

MAX_VARIABLES = 50
_MAX_REASON_CHARS = 300
_VARIABLE_NAME = Pattern("^[a-z][a-z0-9_]{0,39}$", error="Not a name of a variable.")
_DECISION_REASONS = {
    "answer": "it wants the agent to answer",
    "reject": "it wants the caller refused",
    "forward": "it wants the call forwarded",
}


class InvalidDecision(Exception):
    """Nothing that counts; the text says why, `outcome` how it is counted."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(sanitize(why, max_length=_MAX_REASON_CHARS))
        self.outcome = outcome


class DecisionSchema(Schema):
    """What a decision webhook answers."""

    decision = string(1, 20, one_of=_DECISION_REASONS, required=True)
    ai_profile_id = Uuid(allow_none=True, load_default=None)
    forward_to = e164(allow_none=True, load_default=None)
    variables = fields.Dict(
        keys=fields.String(validate=_VARIABLE_NAME),
        values=string(0, 500),
        allow_none=True,
        load_default=dict,
        validate=validate.Length(max=MAX_VARIABLES),
    )

    @validates_schema
    def _check_combinations(self, data: dict[str, Any], **_: Any) -> None:
        if data["ai_profile_id"] is not None and data["decision"] != "answer":
            raise ValidationError("Only an agent that answers has one.", "ai_profile_id")
        if (data["forward_to"] is not None) != (data["decision"] == "forward"):
            raise ValidationError("Goes with the decision to forward.", "forward_to")


_SCHEMA = DecisionSchema()


def is_success(response: HttpResponse) -> bool:
    """Whether it was answered at all, whatever it says."""
    return 200 <= response.status < 300


def parse_decision(response: HttpResponse) -> WebhookDecision:
    """What is wanted; raises NoDecision."""
    if not is_success(response):
        raise InvalidDecision("refused", f"it answered {response.status}")
    if not response.complete:
        raise InvalidDecision("invalid", "its answer is too large")
    try:
        decision = _SCHEMA.load(json.strict_loads(response.body))
    except InvalidJson as error:
        raise InvalidDecision("invalid", f"its answer cannot be read: {error}") from error
    except ValidationError as error:
        raise InvalidDecision(
            "invalid", f"its answer is not valid: {_describe_first_error(error)}"
        ) from error
    return WebhookDecision(
        _DECISION_REASONS[decision["decision"]],
        decision["decision"],
        decision["forward_to"],
        decision["ai_profile_id"],
        decision["variables"] or {},
    )


def _describe_first_error(error: ValidationError) -> str:
    """Where a stranger's answer is wrong, and how."""
    messages: Any = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow
    path = []
    while isinstance(messages, dict):
        name, messages = next(iter(messages.items()))
        path.append(json.escape_pointer_step(str(name)))
    message = messages[0] if isinstance(messages, list) else messages
    return f"/{'/'.join(segment for segment in path if segment != '_schema')}: {message}"
