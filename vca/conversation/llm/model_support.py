"""What a model's server supports of the optional parts of a request, and how VCA learns it.

VCA learns only from an error that names a part, and from its own neutral requests: a tenant's
request that succeeds without a part may have been refused for its length or its content.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from time import monotonic
from typing import Any, Literal, TypeAlias

Feature: TypeAlias = Literal[
    "stream_options",
    "temperature",
    "tools",
    "tool_choice",
    "nullable_types",
    "additional_properties",
    "system_role",
    "tool_role",
]
ToolChoice: TypeAlias = Literal["named", "required", "auto"]

_NEXT_TOOL_CHOICE: dict[ToolChoice, ToolChoice] = {"named": "required", "required": "auto"}


@dataclass(frozen=True)
class ModelSupport:
    """The optional parts of a request that a model's server accepts.

    `tool_choice` is the strictest way to require a tool call. `nullable_types` are types such as
    `["string", "null"]` in the parameters of tools. Without `system_role` the system prompt is part
    of the first message, and without `tool_role` the result of a tool is a message of the user.
    """

    stream_options: bool = True
    temperature: bool = True
    tools: bool = True
    tool_choice: ToolChoice = "named"
    nullable_types: bool = True
    additional_properties: bool = True
    system_role: bool = True
    tool_role: bool = True

    def without(self, feature: Feature) -> "ModelSupport":
        """Return the support without one feature; of the tool choice, one step less."""
        if feature == "tool_choice":
            return replace(self, tool_choice=_NEXT_TOOL_CHOICE.get(self.tool_choice, "auto"))
        changes: dict[str, Any] = {feature: False}
        return replace(self, **changes)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ModelSupport":
        """Return the support that was stored as a JSON object; unknown members are ignored."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: item for name, item in value.items() if name in names})


FULL_SUPPORT = ModelSupport()
MINIMAL_SUPPORT = ModelSupport(False, False, False, "auto", False, False, False, False)


@dataclass(frozen=True)
class Rejection:
    """An error response as far as it can name a part of the request.

    `text` is the server's message without anything that occurs in the tenant's part of the request.
    """

    status: int
    code: str
    param: str
    text: str

    @property
    def may_concern_parts(self) -> bool:
        """Whether leaving out optional parts can help although the error names none."""
        return self.status in (400, 422) and not self.is_about_content

    @property
    def is_about_content(self) -> bool:
        """Whether the request is too long, or its content is not allowed."""
        return bool(_CONTENT.search(f"{self.code} {self.text}"))


# Statuses that say nothing about the request's parts, whatever the message mentions.
_OTHER_STATUSES = frozenset({401, 402, 403, 408, 409, 413, 429, 502, 503, 504})
_CONTENT = re.compile(
    r"context.?(length|window|size)|too (long|large|many (input )?tokens)|maximum.{0,30}tokens|"
    r"max_?tokens|content.?(filter|management|policy)|moderation|safety|jailbreak|exceeds? the",
    re.IGNORECASE,
)
# The first expression that matches determines the part: several messages about the parameters of
# tools mention the tools too.
_PATTERNS: tuple[tuple[Feature, str], ...] = (
    ("stream_options", r"stream.?options|include_usage"),
    ("temperature", r"\btemperature\b"),
    ("additional_properties", r"additional_?properties"),
    (
        "nullable_types",
        r"proto field is not repeating|unknown name \"?type\b|\bnullable\b|"
        r"\btype\b.{0,40}\b(array|list|union)s?\b",
    ),
    ("tools", r"\bauto\b.{0,3} tool choice requires"),
    ("tool_choice", r"tool.?choice"),
    ("tool_role", r"\brole\b.{0,40}\btool\b|\btool\b.{0,20}\b(role|message)|'tool'"),
    (
        "system_role",
        r"\bsystem\b.{0,20}\b(role|message|instruction|prompt)|\brole\b.{0,40}\bsystem\b|"
        r"developer instruction|roles? must alternate",
    ),
    (
        "tools",
        r"\b(tools?|functions?|(tool|function).?(use|call(s|ing)?))\b.{0,60}"
        r"\b(support|enabled?|allowed|permitted|available|require|unknown|unrecognized|extra)|"
        r"\b(support|enabled?|allow|permit|unknown|unrecognized|unexpected|extra)\w*\b.{0,60}"
        r"\b(tools|functions|(tool|function).?(use|call(s|ing)?))\b",
    ),
)
_NAMES = tuple(
    (feature, re.compile(pattern, re.IGNORECASE | re.DOTALL)) for feature, pattern in _PATTERNS
)
_PARAMS: tuple[tuple[Feature, re.Pattern[str]], ...] = (
    ("stream_options", re.compile(r"stream_options\b")),
    ("temperature", re.compile(r"temperature$")),
    ("tool_choice", re.compile(r"tool_choice\b")),
    ("tools", re.compile(r"(tools|functions)$")),
)


SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_PLAIN_VALUES = ("enum", "const", "default", "examples")


def named_feature(rejection: Rejection, candidates: frozenset[Feature]) -> Feature | None:
    """Return the part of the request that an error names, among those that were sent."""
    if rejection.status in _OTHER_STATUSES or rejection.is_about_content:
        return None
    for expressions, text in ((_PARAMS, rejection.param), (_NAMES, rejection.text)):
        for feature, expression in expressions:
            if feature == "tools" and "schema" in text.lower():
                continue  # it is about the parameters of one tool
            if feature in candidates and expression.search(text):
                return feature
    return None


def adapt_schema(schema: Mapping[str, Any], support: ModelSupport) -> dict[str, Any]:
    """Return a JSON Schema of tool parameters in the form that the server accepts.

    Without nullable types, a value that may be null is one that may be left out.
    """
    if support.nullable_types and support.additional_properties:
        return dict(schema)
    adapted: dict[str, Any] = _adapt(schema, support)
    return adapted


def _adapt(value: Any, support: ModelSupport) -> Any:
    if isinstance(value, list):
        return [_adapt(item, support) for item in value]
    if not isinstance(value, Mapping):
        return value
    result: dict[str, Any] = {}
    for keyword, item in value.items():
        if keyword in SCHEMA_MAPS and isinstance(item, Mapping):
            result[keyword] = {name: _adapt(schema, support) for name, schema in item.items()}
        elif keyword in _PLAIN_VALUES:
            result[keyword] = item
        elif keyword != "additionalProperties" or support.additional_properties:
            result[keyword] = _adapt(item, support)
    if not support.nullable_types:
        _remove_null(result, value)
    return result


def _remove_null(result: dict[str, Any], value: Mapping[str, Any]) -> None:
    """Remove null from the types of one schema, and properties that may be null from `required`."""
    types = value.get("type")
    if isinstance(types, list):
        others = [name for name in types if name != "null"]
        result["type"] = others[0] if len(others) == 1 else "string"
    if isinstance(value.get("enum"), list):
        result["enum"] = [item for item in value["enum"] if item is not None]
    properties = value.get("properties")
    if isinstance(properties, Mapping) and isinstance(value.get("required"), list):
        result["required"] = [
            name
            for name in value["required"]
            if not (isinstance(name, str) and _may_be_null(properties.get(name)))
        ]


def _may_be_null(schema: Any) -> bool:
    types = schema.get("type") if isinstance(schema, Mapping) else None
    return types == "null" or (isinstance(types, list) and "null" in types)


RELEARN_AFTER_S = 3600.0


class SupportStore:
    """What is known of each model of one endpoint; shared by the threads of a process.

    What was learned is forgotten after an hour, so that an endpoint that changes is noticed.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[ModelSupport, bool, float]] = {}

    def get(self, model: str) -> ModelSupport:
        """Return what the model's server accepts, everything if nothing else is known."""
        return self._entry(model)[0]

    def is_checked(self, model: str) -> bool:
        """Return whether VCA has tried every part with a request of its own."""
        return self._entry(model)[1]

    def learn(self, model: str, feature: Feature) -> None:
        """Remember that an error named a part that the server does not accept."""
        support, _, _ = self._entry(model)
        self._put(model, support.without(feature), is_checked=False)

    def set_checked(self, model: str, support: ModelSupport) -> None:
        """Remember the result of a check."""
        self._put(model, support, is_checked=True)

    def _entry(self, model: str) -> tuple[ModelSupport, bool, float]:
        entry = self._entries.get(model)
        if entry is None or self._clock() >= entry[2]:
            return FULL_SUPPORT, False, 0.0
        return entry

    def _put(self, model: str, support: ModelSupport, *, is_checked: bool) -> None:
        self._entries[model] = (support, is_checked, self._clock() + RELEARN_AFTER_S)
