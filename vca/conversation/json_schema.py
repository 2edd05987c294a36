"""Validate a model's JSON against a JSON Schema, with bounded cost and no network access.

Tenants write the schemas and models write the values. Without bounds, a regular expression with
catastrophic backtracking or alternatives that double at each level could block a process, and a
`$ref` could name an address inside our network.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import count
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend as _extend
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

extend_validator: Any = _extend  # jsonschema is untyped here

MAX_STEPS = 20_000
MAX_PROBLEM_CHARS = 300


class SchemaTooCostly(Exception):
    """The schema needs more validation steps than `MAX_STEPS`."""


def find_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Return the problem of the value, in words that a model understands, or None if it fits.

    Regular expressions are not checked. A schema that cannot be applied (unresolvable references,
    cycles, too many steps) is reported as a problem of every value.
    """
    # An empty registry: unknown references must not be fetched over the network.
    validator = _step_limited_validator()(_remove_patterns(schema), registry=EMPTY_REGISTRY)
    try:
        error = next(validator.iter_errors(value), None)
    except (SchemaTooCostly, Unresolvable, RecursionError):
        return "the schema cannot be applied"
    if error is None:
        return None
    path = "/".join(str(step) for step in error.absolute_path)
    return f"{path or 'it'}: {error.message}"[:MAX_PROBLEM_CHARS]


def drop_surplus(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return the value without members that its schema forbids, and without optional nulls.

    Models add members of their own, and write null for what they do not know. References and
    alternatives in the schema are not followed.
    """
    items, properties = schema.get("items"), schema.get("properties")
    if isinstance(value, list) and isinstance(items, Mapping):
        return [drop_surplus(item, items) for item in value]
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    is_closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    required = schema.get("required", ())
    return {
        name: drop_surplus(item, rule) if isinstance(rule, Mapping) else item
        for name, item in value.items()
        for rule in (properties.get(name),)
        if (rule is not None or not is_closed) and (item is not None or name in required)
    }


def _step_limited_validator() -> Any:
    """Return a validator class that counts its steps; use it for one value only."""
    steps = count(1)

    def count_steps(check: Any) -> Any:
        def counting_check(
            validator: Any, rule: Any, value: Any, schema: Any
        ) -> Iterator[ValidationError]:
            if next(steps) > MAX_STEPS:
                raise SchemaTooCostly
            yield from check(validator, rule, value, schema) or ()

        return counting_check

    return extend_validator(
        Draft202012Validator,
        {name: count_steps(check) for name, check in _keyword_checks().items()},
    )


@cache
def _keyword_checks() -> dict[str, Any]:
    return dict(Draft202012Validator.VALIDATORS)


def _remove_patterns(schema: Any) -> Any:
    """Return the schema without regular expressions and the keywords that depend on them."""
    if isinstance(schema, list):
        return [_remove_patterns(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    rules = {name: _remove_patterns(rule) for name, rule in schema.items()}
    if isinstance(rules.get("pattern"), str):
        del rules["pattern"]
    if "patternProperties" in rules:
        for name in ("patternProperties", "additionalProperties", "unevaluatedProperties"):
            rules.pop(name, None)
    return rules
