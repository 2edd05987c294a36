"""Hold a model's JSON against a JSON Schema, at a bounded price and with no network.

A tenant writes such schemas and a model the values: a pattern that never ends or alternatives that
double at each step would hold a process, and a `$ref` could name an address inside our network.
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

extend_validator: Any = _extend  # has no types

MAX_STEPS = 20_000
MAX_PROBLEM_CHARS = 300


class SchemaTooCostly(Exception):
    """The schema asks for more steps than are taken."""


def find_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with the value, in words that a model understands; None if it fits.

    Patterns are not held against it. A schema that cannot be applied (its references lead nowhere,
    it goes round in circles, it asks for too much) is a problem of every value.
    """
    # With a registry of its own it asks no network for what it does not know.
    validator = _step_limited_validator()(_remove_patterns(schema), registry=EMPTY_REGISTRY)
    try:
        error = next(validator.iter_errors(value), None)
    except (SchemaTooCostly, Unresolvable, RecursionError):
        return "the schema cannot be applied"
    if error is None:
        return None
    path = "/".join(str(step) for step in error.absolute_path)
    return f"{path or 'it'}: {error.message}"[:MAX_PROBLEM_CHARS]


def _step_limited_validator() -> Any:
    """A validator that counts its steps, for one value."""
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
    """The schema without regular expressions, and without what refers to their matches."""
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
