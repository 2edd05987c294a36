"""Holding values against schemas that a stranger wrote."""

from typing import Any

import pytest

from vca.conversation import json_schema

NAMED = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name"],
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


def doubling(steps: int) -> dict[str, Any]:
    """Alternatives that lead to two alternatives each, and none of them to an end that fits."""
    definitions: dict[str, Any] = {
        f"d{step}": {"allOf": [{"$ref": f"#/$defs/d{step + 1}"}] * 2} for step in range(steps)
    }
    definitions[f"d{steps}"] = {"type": ["object", "string"]}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


@pytest.mark.parametrize("value", [{"name": "Ada"}, {"name": "Ada", "age": 36, "more": None}])
def test_what_fits_is_no_problem(value: dict[str, Any]) -> None:
    assert json_schema.find_problem(value, NAMED) is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({}, "it: 'name' is a required property"),
        ({"name": "Ada", "age": "old"}, "age: 'old' is not of type 'integer'"),
        ([], "it: [] is not of type 'object'"),
    ],
)
def test_what_does_not_fit_is_told(value: Any, told: str) -> None:
    assert json_schema.find_problem(value, NAMED) == told


def test_what_is_told_is_bounded() -> None:
    problem = json_schema.find_problem({"name": 5, "x": "y" * 10_000}, {"const": 1})

    assert problem is not None
    assert len(problem) <= json_schema.MAX_PROBLEM_CHARS


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$dynamicRef": "#nothing"},
        doubling(40),
    ],
)
def test_a_schema_that_cannot_be_applied_is_a_problem_and_asks_no_network(
    schema: dict[str, Any],
) -> None:
    assert json_schema.find_problem({"a": 1}, schema) == "the schema cannot be applied"


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(a+)+$"},
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"patternProperties": {"(a+)+$": False}, "additionalProperties": False},
        {"propertyNames": {"pattern": "(a+)+$"}},
        {"allOf": [{"patternProperties": {"(a+)+$": {}}, "unevaluatedProperties": False}]},
        {"$defs": {"x": {"pattern": "(a+)+$"}}, "properties": {"a": {"$ref": "#/$defs/x"}}},
    ],
)
@pytest.mark.parametrize("value", ["a" * 40 + "!", {"a": "a" * 40 + "!", "a" * 40 + "!": 1}])
def test_no_pattern_is_matched(schema: dict[str, Any], value: Any) -> None:
    assert json_schema.find_problem(value, schema) is None


def test_a_property_may_be_called_pattern() -> None:
    schema = {"properties": {"pattern": {"type": "integer"}}}

    assert (
        json_schema.find_problem({"pattern": "x"}, schema)
        == "pattern: 'x' is not of type 'integer'"
    )
