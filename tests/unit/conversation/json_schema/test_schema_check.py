"""The check of a schema when it is saved: what is accepted, and where what is refused is wrong."""

from typing import Any

import pytest

from vca.conversation import json_schema

BOOKING = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://acme.example/schemas/booking.json",
    "title": "Booking",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 80, "examples": ["Ada"]},
        "day": {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        "guests": {"type": "integer", "minimum": 1, "maximum": 12, "default": 2},
        "room": {"enum": ["single", "double", None]},
        "extras": {
            "type": "array",
            "items": {"$ref": "#/$defs/extra"},
            "maxItems": 5,
            "uniqueItems": True,
        },
        "contact": {"anyOf": [{"$ref": "#phone"}, {"$ref": "booking.json#/$defs/email"}]},
        "payment": {"oneOf": [{"const": "cash"}, {"type": "object", "required": ["card"]}]},
    },
    "required": ["name"],
    "additionalProperties": False,
    "if": {"properties": {"room": {"const": "double"}}, "required": ["room"]},
    "then": {"required": ["guests"]},
    "else": {"properties": {"guests": {"maximum": 1}}},
    "dependentRequired": {"payment": ["day"]},
    "$defs": {
        "extra": {
            "type": "object",
            "properties": {"price": {"type": "number", "multipleOf": 0.01}},
            "patternProperties": {"^x-": True},
        },
        "phone": {"$anchor": "phone", "type": "string", "minLength": 5},
        "email": {"$id": "email.json", "type": "object", "required": ["address"]},
    },
    "x-owner": {"type": "of no meaning"},
}
TREE = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    "unevaluatedProperties": False,
}
OPEN_API_STYLE = {
    "$ref": "#/components/schemas/Person",
    "components": {"schemas": {"Person": {"type": "object", "required": ["name"]}}},
}
BUNDLE = {
    "$id": "https://acme.example/a",
    "$ref": "https://acme.example/b",
    "$defs": {
        "b": {
            "$id": "/b",
            "type": "object",
            "properties": {"c": {"$ref": "#/$defs/c"}},
            "$defs": {"c": {"type": "integer"}},
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        (BOOKING, {"name": "Ada", "room": "double", "guests": 2}, None),
        (BOOKING, {"name": "Ada", "room": "double"}, "it: 'guests' is a required property"),
        (BOOKING, {"name": "Ada", "guests": 2}, "guests: 2 is greater than the maximum of 1"),
        (BOOKING, {"name": "Ada", "extras": [{"price": 19.99, "x-a": 1}]}, None),
        (
            BOOKING,
            {"name": "Ada", "extras": [{}, {"price": 0.005}]},
            "extras/1/price: 0.005 is not a multiple of 0.01",
        ),
        (BOOKING, {"name": "Ada", "contact": {"address": "a@b.example"}}, None),
        (
            BOOKING,
            {"name": "Ada", "contact": {}},
            "contact: {} is not valid under any of the given schemas",
        ),
        (BOOKING, {"name": "Ada", "payment": "cash"}, "it: 'day' is a required property"),
        (TREE, {"children": [{"children": []}, {}]}, None),
        (
            TREE,
            {"children": [{"child": []}]},
            "children/0: Additional properties are not allowed ('child' was unexpected)",
        ),
        (OPEN_API_STYLE, {}, "it: 'name' is a required property"),
        (BUNDLE, {"c": "1"}, "c: '1' is not of type 'integer'"),
    ],
)
def test_schemas_as_businesses_write_them_are_accepted_and_applied(
    schema: dict[str, Any], value: Any, problem: str | None
) -> None:
    json_schema.check_schema(schema)

    assert json_schema.find_problem(value, schema) == problem


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "no-such-type"}, "type"),
        ({"type": []}, "type"),
        ({"type": ["string", "string"]}, "type"),
        ({"type": [["string"], {}]}, "type"),
        ({"properties": {"value": {"type": 5}}}, "properties/value/type"),
        ({"properties": ["a"]}, "properties"),
        ({"properties": {"a": None}}, "properties/a"),
        ({"items": [{}]}, "items"),
        ({"allOf": []}, "allOf"),
        ({"anyOf": [{}, {"required": "a"}]}, "anyOf/1/required"),
        ({"required": ["a", "a"]}, "required"),
        ({"required": [[], {}]}, "required"),
        ({"enum": "a"}, "enum"),
        ({"minLength": -1}, "minLength"),
        ({"maxItems": 1.5}, "maxItems"),
        ({"maxItems": True}, "maxItems"),
        ({"exclusiveMinimum": True}, "exclusiveMinimum"),
        ({"maximum": "5"}, "maximum"),
        ({"multipleOf": 0}, "multipleOf"),
        ({"multipleOf": 10**400}, "multipleOf"),
        ({"maximum": float("inf")}, "maximum"),
        ({"uniqueItems": "yes"}, "uniqueItems"),
        ({"dependentRequired": {"a": "b"}}, "dependentRequired"),
        ({"pattern": 5}, "pattern"),
        ({"patternProperties": {"a": 5}}, "patternProperties/a"),
        ({"$ref": 5}, "$ref"),
        ({"$anchor": "5 "}, "$anchor"),
        ({"$id": "http://[::1"}, "$id"),
        ({"$id": "http://a\u2100.example"}, "$id"),
        ({"$id": "#a"}, "$id"),
        ({"$id": "a/" * 2_000}, "$id"),
        ({"properties": {"a": {"$ref": "#/properties/b/maxLength"}, "b": {"maxLength": 3}}},
         "properties/a/$ref"),
        ({"$defs": {"a": {"$ref": "#/$defs/b/enum"}, "b": {"enum": [1]}}}, "$defs/a/$ref"),
        ({"$defs": {"a": {"$ref": "#/title"}}, "title": "text"}, "$defs/a/$ref"),
        ({"$defs": {"a": {"$ref": "#/title/0"}}, "title": "text"}, "$defs/a/$ref"),
        ({"$defs": {"a": {"$ref": "#/nowhere"}}}, "$defs/a/$ref"),
        ({"$defs": {"a": {"$ref": f"#/allOf/{'9' * 9_999}"}}, "allOf": [{}]}, "$defs/a/$ref"),
        ({"$defs": {"a": {"$ref": "http://[::1"}}}, "$defs/a/$ref"),
        ({"$defs": {"a": {"$ref": "http://127.0.0.1:1/a"}}}, "$defs/a/$ref"),
        ({"$defs": {"a": {"$dynamicRef": "#nothing"}}}, "$defs/a/$dynamicRef"),
        ({"$defs": {"a": {"$ref": "#/x/y"}}, "x": {"y": {"type": 1}}}, "$defs/a/$ref/type"),
        ({"$ref": "#"}, ""),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#"}}}, ""),
    ],
)  # fmt: skip
def test_an_invalid_schema_is_refused_with_the_place(schema: dict[str, Any], path: str) -> None:
    with pytest.raises(json_schema.UnusableSchema) as error:
        json_schema.check_schema(schema)

    assert "/".join(error.value.path) == path
    assert error.value.detail.endswith(".")
    # The schema may have been stored without this check: using it raises nothing.
    assert json_schema.find_problem({"a": "x"}, schema) in (None, json_schema.NOT_APPLICABLE)


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(3_000):
        schema = {"not": schema}

    with pytest.raises(json_schema.UnusableSchema, match="nested deeper"):
        json_schema.check_schema(schema)

    assert json_schema.find_problem({}, schema) == json_schema.NOT_APPLICABLE


@pytest.mark.parametrize("pattern", ["(?i)" + "[!-\uffff]" * 1_600, "((((", "(a|b)*" * 3_000])
def test_patterns_are_not_compiled(pattern: str) -> None:
    schema = {"pattern": pattern, "patternProperties": {pattern: {}}}

    json_schema.check_schema(schema)

    assert json_schema.find_problem("a" * 10_000, schema) is None


@pytest.mark.parametrize("reference", ["#/nowhere", "#/title", "#/properties/b/maxLength"])
def test_a_reference_without_a_meaning_matters_only_where_it_is_applied(reference: str) -> None:
    schema = {
        "title": "text",
        "properties": {"a": {"$ref": reference}, "b": {"type": "string", "maxLength": 3}},
    }

    assert json_schema.find_problem({"b": "x"}, schema) is None
    assert json_schema.find_problem({"a": "x"}, schema) == json_schema.NOT_APPLICABLE


def test_a_schema_that_refers_to_itself_without_an_end_is_refused() -> None:
    with pytest.raises(json_schema.UnusableSchema, match="refers to itself"):
        json_schema.check_schema({"anyOf": [False, {"$ref": "#"}]})
