"""Validation of values against schemas from untrusted authors."""

from typing import Any

import pytest

from vca.conversation import json_schema

NAMED = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name"],
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


def exponential_schema(steps: int) -> dict[str, Any]:
    """Return a schema in which each step refers twice to the next one."""
    definitions: dict[str, Any] = {
        f"d{step}": {"allOf": [{"$ref": f"#/$defs/d{step + 1}"}] * 2} for step in range(steps)
    }
    definitions[f"d{steps}"] = {"type": ["object", "string"]}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


@pytest.mark.parametrize("value", [{"name": "Ada"}, {"name": "Ada", "age": 36, "more": None}])
def test_a_valid_value_has_no_problem(value: dict[str, Any]) -> None:
    assert json_schema.find_problem(value, NAMED) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "it: 'name' is a required property"),
        ({"name": "Ada", "age": "old"}, "age: 'old' is not of type 'integer'"),
        ([], "it: [] is not of type 'object'"),
    ],
)
def test_the_problem_names_the_field_and_the_violation(value: Any, problem: str) -> None:
    assert json_schema.find_problem(value, NAMED) == problem


def test_the_problem_text_has_a_maximum_length() -> None:
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
        exponential_schema(40),
    ],
)
def test_an_inapplicable_schema_is_a_problem_without_a_network_request(
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
def test_patterns_are_not_evaluated(schema: dict[str, Any], value: Any) -> None:
    assert json_schema.find_problem(value, schema) is None


def test_a_property_may_be_called_pattern() -> None:
    schema = {"properties": {"pattern": {"type": "integer"}}}

    assert (
        json_schema.find_problem({"pattern": "x"}, schema)
        == "pattern: 'x' is not of type 'integer'"
    )


CLOSED = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "floor": {"type": "integer"},
        "visits": {"type": "array", "items": {**NAMED, "additionalProperties": False}},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "remaining"),
    [
        ({"name": "Ada", "mood": "good"}, {"name": "Ada"}),
        ({"name": "Ada", "floor": None}, {"name": "Ada"}),
        ({"name": None}, {"name": None}),
        (
            {"name": "Ada", "visits": [{"name": "Bob", "age": None, "mood": "bad"}, 3]},
            {"name": "Ada", "visits": [{"name": "Bob"}, 3]},
        ),
        ([1], [1]),
        ("text", "text"),
    ],
)
def test_forbidden_members_and_optional_nulls_are_dropped(value: Any, remaining: Any) -> None:
    assert json_schema.drop_surplus(value, CLOSED) == remaining


@pytest.mark.parametrize(
    "schema",
    [{}, {"type": "object", "properties": {"a": True}}, {**CLOSED, "patternProperties": {"x": {}}}],
)
def test_members_that_a_schema_may_allow_are_not_dropped(schema: dict[str, Any]) -> None:
    assert json_schema.drop_surplus({"xyz": 1}, schema) == {"xyz": 1}
