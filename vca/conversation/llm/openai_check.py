"""Find out with neutral requests whether a model answers and what its server accepts.

The requests contain nothing of a tenant. They ask for a word or two, and only the first chunk of an
answer is read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from vca.conversation.llm import ModelCheck, ModelError, ModelRequest, ToolSpec
from vca.conversation.llm.model_support import (
    FULL_SUPPORT,
    MINIMAL_SUPPORT,
    SCHEMA_MAPS,
    Feature,
    ModelSupport,
)
from vca.conversation.types import Message, Profile

_TOOL = ToolSpec(
    "note",
    "Note a word.",
    {
        "type": "object",
        "properties": {"word": {"type": ["string", "null"]}},
        "required": ["word"],
        "additionalProperties": False,
    },
)
TOOL_RESULT_MESSAGES: tuple[dict[str, Any], ...] = (
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": _TOOL.name, "arguments": '{"word":"yes"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "Done."},
)
# In this order: the parts of tools can only be tried together with tools.
_FEATURES: tuple[Feature, ...] = (
    "stream_options",
    "temperature",
    "system_role",
    "tools",
    "nullable_types",
    "additional_properties",
)


@dataclass(frozen=True)
class ProbeFailure:
    """Why a neutral request failed, and which part of it the server named."""

    error: ModelError
    feature: Feature | None = None

    @property
    def is_rejection(self) -> bool:
        """Whether a smaller request may succeed."""
        return self.feature is not None or self.error.server_status in (400, 404, 422, 500, 501)


# Takes the request, what to send of it, and whether to append a tool call with its result.
Probe: TypeAlias = Callable[[ModelRequest, ModelSupport, bool], ProbeFailure | None]


def check_model(model: str, probe: Probe) -> ModelCheck:
    """Return what a model's server accepts, or why the model cannot answer."""
    request = ModelRequest(
        profile=Profile("Check", "custom", "", temperature=0.5),
        system="Answer with one word.",
        messages=(Message("caller", "Say yes."),),
        model=model,
        tools=(_TOOL,),
    )
    try:
        support = _find_support(request, probe)
        if support.tools:
            support = _find_tool_choice(request, support, probe)
            if _fails(probe(request, support, True)):
                support = support.without("tool_role")
        else:
            support = support.without("tool_role")
    except ModelError as error:
        return ModelCheck(model, failure=error)
    return ModelCheck(model, support)


def _find_support(request: ModelRequest, probe: Probe) -> ModelSupport:
    """Leave out what the server names; if it names nothing, try every part alone."""
    support = FULL_SUPPORT
    while (failure := probe(request, support, False)) is not None:
        if not failure.is_rejection:
            raise failure.error
        reduced = support if failure.feature is None else support.without(failure.feature)
        if reduced == support:
            return _try_each_part(request, probe)
        support = reduced
    return support


def _try_each_part(request: ModelRequest, probe: Probe) -> ModelSupport:
    """Try each part alone; raises ModelError if the model does not answer without any."""
    failure = probe(request, MINIMAL_SUPPORT, False)
    if failure is not None:
        raise failure.error
    values: dict[str, Any] = dict.fromkeys(_FEATURES, False)
    for feature in _FEATURES:
        if feature in ("nullable_types", "additional_properties") and not values["tools"]:
            continue
        values[feature] = not _fails(probe(request, _only(values, feature), False))
    return ModelSupport(**values)


def _only(values: Mapping[str, Any], feature: Feature) -> ModelSupport:
    """Return the support of one part, with tools if it is a part of them."""
    parts: dict[str, Any] = {field.name: False for field in fields(ModelSupport)}
    parts |= {"tool_choice": "auto", feature: True}
    if feature in ("nullable_types", "additional_properties"):
        parts["tools"] = values["tools"]
    return ModelSupport(**parts)


def _find_tool_choice(request: ModelRequest, support: ModelSupport, probe: Probe) -> ModelSupport:
    must_call = ModelRequest(
        request.profile, request.system, request.messages, request.model, request.tools, True
    )
    while support.tool_choice != "auto" and _fails(probe(must_call, support, False)):
        support = support.without("tool_choice")
    return support


def _fails(failure: ProbeFailure | None) -> bool:
    """Return whether the server rejects a request; raises its error if it failed otherwise."""
    if failure is None:
        return False
    if not failure.is_rejection:
        raise failure.error
    return True


def sent_features(body: Mapping[str, Any], *, has_tenant_tools: bool) -> frozenset[Feature]:
    """Return the optional parts of a request body that an error may name.

    An error about the parameters of a tenant's tool says nothing about the server.
    """
    has_own_tools = "tools" in body and not has_tenant_tools
    roles = {message.get("role") for message in body["messages"]}
    features: dict[Feature, bool] = {
        "stream_options": "stream_options" in body,
        "temperature": "temperature" in body,
        "tools": has_own_tools,
        "tool_choice": "tool_choice" in body,
        "nullable_types": has_own_tools,
        "additional_properties": has_own_tools,
        "system_role": "system" in roles,
        "tool_role": "tool" in roles,
    }
    return frozenset(feature for feature, is_sent in features.items() if is_sent)


def tenant_texts(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of a request body that a tenant or a caller may have chosen."""
    for message in body["messages"]:
        yield from _texts({**message, "role": None, "tool_calls": None})
        for call in message.get("tool_calls") or ():
            yield str(call["function"]["arguments"])
    for tool in body.get("tools", ()):
        yield str(tool["function"]["description"])
        yield from _texts(tool["function"]["parameters"])


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value, and the names of the properties in a JSON Schema."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for keyword, item in value.items():
            if keyword in SCHEMA_MAPS and isinstance(item, Mapping):
                yield from map(str, item)
            if keyword != "type":
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
