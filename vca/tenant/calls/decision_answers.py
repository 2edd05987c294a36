"""What a number's decision webhook answers, read as strictly as any stranger's words."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from vca.kit import json
from vca.kit.http import Answer
from vca.kit.json import BadJson
from vca.kit.text import clean
from vca.kit.web import Schema
from vca.kit.web.schema import Pattern, Uuid, e164, text
from vca.tenant.calls.route import Advice

MOST_VARIABLES = 50
_LONGEST_WHY = 300
_VARIABLE = Pattern("^[a-z][a-z0-9_]{0,39}$", error="Not a name of a variable.")
_SAID = {
    "answer": "it wants the agent to answer",
    "reject": "it wants the caller refused",
    "forward": "it wants the call forwarded",
}


class NoDecision(Exception):
    """Nothing that counts; the text says why, `outcome` how it is counted."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(clean(why, longest=_LONGEST_WHY))
        self.outcome = outcome


class DecisionSchema(Schema):
    """What a decision webhook answers."""

    decision = text(1, 20, one_of=_SAID, required=True)
    ai_profile_id = Uuid(allow_none=True, load_default=None)
    forward_to = e164(allow_none=True, load_default=None)
    variables = fields.Dict(
        keys=fields.String(validate=_VARIABLE),
        values=text(0, 500),
        allow_none=True,
        load_default=dict,
        validate=validate.Length(max=MOST_VARIABLES),
    )

    @validates_schema
    def _fits(self, data: dict[str, Any], **_: Any) -> None:
        if data["ai_profile_id"] is not None and data["decision"] != "answer":
            raise ValidationError("Only an agent that answers has one.", "ai_profile_id")
        if (data["forward_to"] is not None) != (data["decision"] == "forward"):
            raise ValidationError("Goes with the decision to forward.", "forward_to")


_SCHEMA = DecisionSchema()


def is_one(answer: Answer) -> bool:
    """Whether it was answered at all, whatever it says."""
    return 200 <= answer.status < 300


def read(answer: Answer) -> Advice:
    """What is wanted; raises NoDecision."""
    if not is_one(answer):
        raise NoDecision("refused", f"it answered {answer.status}")
    if not answer.complete:
        raise NoDecision("invalid", "its answer is too large")
    try:
        said = _SCHEMA.load(json.strict_loads(answer.body))
    except BadJson as error:
        raise NoDecision("invalid", f"its answer cannot be read: {error}") from error
    except ValidationError as error:
        raise NoDecision("invalid", f"its answer is not valid: {_first_fault(error)}") from error
    return Advice(
        _SAID[said["decision"]],
        said["decision"],
        said["forward_to"],
        said["ai_profile_id"],
        said["variables"] or {},
    )


def _first_fault(error: ValidationError) -> str:
    """Where a stranger's answer is wrong, and how."""
    found: Any = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow
    steps = []
    while isinstance(found, dict):
        name, found = next(iter(found.items()))
        steps.append(json.escaped(str(name)))
    what = found[0] if isinstance(found, list) else found
    return f"/{'/'.join(step for step in steps if step != '_schema')}: {what}"
