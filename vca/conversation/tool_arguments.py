"""Read the arguments of tool calls as models really write them.

The schema that a model gets is strict: it requires every argument and allows no others. The
arguments that come back are read with tolerance, as long as the meaning is clear.
"""

import re
from collections.abc import Mapping
from typing import Any

from vca.conversation.llm import MAX_ARGUMENTS_CHARS
from vca.kit import json

_CODE_FENCE = re.compile(r"\s*(?:```|~~~)[\w-]*\s*(.*?)\s*(?:```|~~~)?\s*", re.DOTALL)
_MAX_ENCODINGS = 3  # JSON in a JSON string in a JSON string
_WRAPPERS = ("arguments", "parameters", "args", "params", "input", "properties", "kwargs")
_NULL_TEXTS = ("", "null", "none")


def is_null(text: str) -> bool:
    """Return whether a model means null with this text."""
    return text.strip().casefold() in _NULL_TEXTS


def read_arguments(text: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments that the schema names, or None if the text has none.

    Fences, repeated encoding and an object around the arguments are removed. Other members are
    ignored. An argument that may be null is null if it is missing. A tool without arguments takes
    any object or list, and nothing at all.
    """
    properties = schema["properties"]
    value = _decode(text)
    if not properties:
        return {} if value is None or isinstance(value, dict | list) else None
    value = {} if value in (None, []) else _unwrap(value, properties)
    if not isinstance(value, dict):
        return None
    arguments = {name: value[name] for name in properties if name in value}
    for name in filter(lambda name: _is_nullable(properties[name]), properties):
        argument = arguments.get(name)
        if isinstance(argument, str) and is_null(argument):
            argument = None
        arguments[name] = argument
    return arguments


def read_texts(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with numbers as text, and texts cut to their maximum lengths.

    Only for arguments that people read: a number is not the name of a transfer target.
    """
    texts: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str):
            value = value[: schema["properties"][name].get("maxLength")]
        texts[name] = value
    return texts


def _decode(text: str) -> Any:
    """Return the value of JSON, which may be in fences or encoded repeatedly.

    Return text that is not JSON as it is, and None for no text or `null`.
    """
    if len(text) >= MAX_ARGUMENTS_CHARS:  # it was cut
        return text
    value: Any = text
    for _ in range(_MAX_ENCODINGS):
        if not isinstance(value, str):
            break
        fenced = _CODE_FENCE.fullmatch(value)
        source = (fenced[1] if fenced is not None else value).strip()
        if not source:
            return None
        try:
            value = json.strict_loads(source.encode("utf-8", "surrogatepass"))
        except json.InvalidJson:
            return value
    return value


def _unwrap(value: Any, properties: Mapping[str, Any]) -> Any:
    """Return the arguments inside an object such as `{"input": {…}}`."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        if name in _WRAPPERS and name not in properties:
            return _decode(inner) if isinstance(inner, str) else inner
    return value


def _is_nullable(rule: Mapping[str, Any]) -> bool:
    return "null" in rule.get("type", ())
