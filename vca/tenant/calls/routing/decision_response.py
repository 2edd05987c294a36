"""Parse the response of a number's decision webhook. It is validated as untrusted input."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from vca.kit import json
from vca.kit.http import HttpResponse
from vca.kit.json import InvalidJson
from vca.kit.text import sanitize
from vca.kit.web import Schema
from vca.kit.web.schema import Pattern, Uuid, diallable_number, string
from vca.tenant.calls.routing.routing_rules import WebhookDecision

MAX_VARIABLES = 50
_MAX_REASON_CHARS = 300
_VARIABLE_NAME = Pattern(
    "^[a-z][a-z0-9_]{0,39}$", error="Not a variable name: a-z, then up to 39 of a-z, 0-9 and _."
)
_DECISION_REASONS = {
    "answer": "the webhook chose the agent",
    "reject": "the webhook rejected the call",
    "forward": "the webhook forwarded the call",
}


class InvalidDecision(Exception):
    """The webhook gave no usable decision.

    The message says why; `outcome` is the metric's label.
    """

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(sanitize(why, max_length=_MAX_REASON_CHARS))
        self.outcome = outcome


class DecisionSchema(Schema):
    """The response of a decision webhook."""

    decision = string(1, 20, one_of=_DECISION_REASONS, required=True)
    ai_profile_id = Uuid(allow_none=True, load_default=None)
    forward_to = diallable_number(allow_none=True, load_default=None)
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
            raise ValidationError("Only allowed if `decision` is `answer`.", "ai_profile_id")
        if (data["forward_to"] is not None) != (data["decision"] == "forward"):
            raise ValidationError(
                "Required if `decision` is `forward`, and not allowed otherwise.", "forward_to"
            )


_SCHEMA = DecisionSchema()


def is_success(response: HttpResponse) -> bool:
    """Return whether the webhook answered with a 2xx status."""
    return 200 <= response.status < 300


def parse_decision(response: HttpResponse) -> WebhookDecision:
    """Return the decision; raise InvalidDecision."""
    if not is_success(response):
        raise InvalidDecision("refused", f"the webhook returned status {response.status}")
    if not response.complete:
        raise InvalidDecision("invalid", "the response is too large")
    try:
        decision = _SCHEMA.load(json.strict_loads(response.body))
    except InvalidJson as error:
        raise InvalidDecision("invalid", f"the response cannot be parsed: {error}") from error
    except ValidationError as error:
        raise InvalidDecision(
            "invalid", f"the response is not valid: {_describe_first_error(error)}"
        ) from error
    return WebhookDecision(
        _DECISION_REASONS[decision["decision"]],
        decision["decision"],
        decision["forward_to"],
        decision["ai_profile_id"],
        decision["variables"] or {},
    )


def _describe_first_error(error: ValidationError) -> str:
    """Return the JSON pointer and the message of the first validation error."""
    messages: Any = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow
    path = []
    while isinstance(messages, dict):
        name, messages = next(iter(messages.items()))
        path.append(json.escape_pointer_step(str(name)))
    message = messages[0] if isinstance(messages, list) else messages
    return f"/{'/'.join(segment for segment in path if segment != '_schema')}: {message}"
