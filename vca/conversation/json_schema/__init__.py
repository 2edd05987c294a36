"""Check and apply the JSON Schemas that tenants write, at a bounded cost and without the network.

A schema is a program of somebody outside: alternatives can double at each level, a regular
expression can backtrack for minutes, and a `$ref` can name an address inside our network. So a
metered interpreter applies it (`application`, `keywords`), after each use has checked its shape
(`definition`): rows that were stored or imported in other ways get no other treatment. All work is
paid from a `Meter`. To support a keyword, add its shape to `definition` and its check to
`keywords`.
"""

from collections.abc import Mapping
from typing import Any

from vca.conversation.json_schema.application import MAX_PROBLEM_CHARS, Application
from vca.conversation.json_schema.definition import read_definition
from vca.conversation.json_schema.keywords import KEYWORDS, LAST_KEYWORDS
from vca.conversation.json_schema.meter import (
    MAX_APPLY_UNITS,
    MAX_CHECK_UNITS,
    Meter,
    UnusableSchema,
)
from vca.observability import log

__all__ = (
    "KEYWORDS",
    "LAST_KEYWORDS",
    "MAX_APPLY_UNITS",
    "MAX_CHECK_UNITS",
    "MAX_PROBLEM_CHARS",
    "NOT_APPLICABLE",
    "Meter",
    "UnusableSchema",
    "check_schema",
    "drop_surplus",
    "find_problem",
)

NOT_APPLICABLE = "the schema cannot be applied"


def check_schema(schema: Any, meter: Meter | None = None) -> None:
    """Raise UnusableSchema if the schema is invalid or cannot be applied, whatever the value."""
    _interpret(schema, {}, meter or Meter(MAX_CHECK_UNITS), may_have_faults=False)


def find_problem(value: Any, schema: Mapping[str, Any], meter: Meter | None = None) -> str | None:
    """Return the problem of the value, in words that a model understands, or None if it fits.

    Regular expressions and formats are not checked. A schema that cannot be applied (unresolvable
    references, cycles, more work than the meter allows) is reported as a problem of every value.
    Raises nothing.
    """
    try:
        return _interpret(schema, value, meter or Meter(MAX_APPLY_UNITS), may_have_faults=True)
    except UnusableSchema:
        return NOT_APPLICABLE


def _interpret(schema: Any, value: Any, meter: Meter, *, may_have_faults: bool) -> str | None:
    """Return the description of the value's problem. Raises UnusableSchema and nothing else."""
    try:
        definition = read_definition(schema, meter)
        if definition.fault is not None and not may_have_faults:
            raise definition.fault
        phases = (KEYWORDS, LAST_KEYWORDS) if definition.has_unevaluated else (KEYWORDS,)
        problem = Application(definition, meter, *phases).apply(schema, value)
        return None if problem is None else problem.describe()
    except UnusableSchema:
        raise
    except Exception as error:  # a tenant's program
        raise _report(error) from error


def _report(error: Exception) -> UnusableSchema:
    """Return the error for an exception that the interpreter did not foresee; log it.

    A thread whose stack is deep already may have too little left for a schema, which is no fault.
    """
    if not isinstance(error, RecursionError):
        log.get_logger().error("json_schema.interpreter_failed", error=type(error).__name__)
    return UnusableSchema("The schema cannot be applied.")


def drop_surplus(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return the value without members that its schema forbids, and without optional nulls.

    Models add members of their own, and write null for what they do not know. References and
    alternatives in the schema are not followed.
    """
    return _drop_surplus(value, schema, {})


def _drop_surplus(
    value: Any, schema: Mapping[str, Any], required_names: dict[int, frozenset[Any]]
) -> Any:
    items, properties = schema.get("items"), schema.get("properties")
    if isinstance(value, list) and isinstance(items, Mapping):
        return [_drop_surplus(item, items, required_names) for item in value]
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    is_closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    # Searching the list for each null would take quadratic time.
    required = required_names.get(id(schema))
    if required is None:
        names = schema.get("required")
        texts = filter(_is_text, names if isinstance(names, list) else ())
        required = required_names[id(schema)] = frozenset(texts)
    return {
        name: _drop_surplus(item, rule, required_names) if isinstance(rule, Mapping) else item
        for name, item in value.items()
        for rule in (properties.get(name),)
        if (rule is not None or not is_closed) and (item is not None or name in required)
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
