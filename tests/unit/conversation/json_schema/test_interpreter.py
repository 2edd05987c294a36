"""The interpreter of JSON Schema: its results are those of jsonschema, and its work is bounded."""

import sys
from collections import Counter
from contextlib import suppress
from random import Random
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from benchmarks import hostile_schemas
from vca.conversation import json_schema
from vca.conversation.json_schema import Meter, UnusableSchema

CALLS_PER_UNIT = 10
NAMES = st.sampled_from("abcd")
SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, 2, -3, 2.5, "", "a", "bc"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
COUNTS = st.integers(0, 3)


def _keywords(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for schemas whose subschemas are from another one."""
    schema_maps = st.dictionaries(NAMES, schemas, max_size=3)
    schema_lists = st.lists(schemas, min_size=1, max_size=3)
    optional: dict[str, st.SearchStrategy[Any]] = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, max_size=3),
        "const": VALUES,
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "uniqueItems": st.booleans(),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True)),
        "$ref": st.sampled_from(["#/$defs/x", "#y"]),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), COUNTS),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), COUNTS),
        **dict.fromkeys(("minProperties", "maxProperties", "minContains", "maxContains"), COUNTS),
        **dict.fromkeys(("properties", "dependentSchemas"), schema_maps),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), schema_lists),
        **dict.fromkeys(
            ("items", "contains", "additionalProperties", "propertyNames", "not", "if"), schemas
        ),
        **dict.fromkeys(("then", "else", "unevaluatedItems", "unevaluatedProperties"), schemas),
    }
    names = st.lists(st.sampled_from(sorted(optional)), max_size=4, unique=True)
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries({name: optional[name] for name in chosen})
    )


SCHEMAS = st.recursive(st.booleans() | _keywords(st.booleans()), _keywords, max_leaves=6)
DEFINITIONS = {"x": {"type": ["object", "array", "integer"]}, "y": {"$anchor": "y", "minItems": 1}}


@settings(max_examples=400)
@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict)), VALUES)
def test_a_value_fits_exactly_if_it_fits_by_the_reference_implementation(
    schema: dict[str, Any], value: Any
) -> None:
    schema = {**schema, "$defs": DEFINITIONS}

    problem = json_schema.find_problem(value, schema)

    json_schema.check_schema(schema)
    assert (problem is None) == Draft202012Validator(schema).is_valid(value), problem


def _count_calls(function: Any) -> int:
    """Return how many functions, also those written in C, are called in a call."""
    counts: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        counts[event] += 1

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(previous)
    return counts["call"] + counts["c_call"]


def _check_schema(schema: Any, meter: Meter) -> None:
    with suppress(UnusableSchema):  # no other exception
        json_schema.check_schema(schema, meter)


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_hostile_schemas_cost_a_bounded_amount_of_work_and_raise_one_error(seed: int) -> None:
    schema, value = hostile_schemas.generate(Random(seed))
    check_meter, apply_meter = (
        Meter(json_schema.MAX_CHECK_UNITS),
        Meter(json_schema.MAX_APPLY_UNITS),
    )

    check_calls = _count_calls(lambda: _check_schema(schema, check_meter))
    apply_calls = _count_calls(lambda: json_schema.find_problem(value, schema, apply_meter))

    for meter, calls in ((check_meter, check_calls), (apply_meter, apply_calls)):
        paid_units = min(meter.budget, meter.budget - meter.remaining)
        assert calls <= CALLS_PER_UNIT * (paid_units + 100)


JUNK = st.recursive(
    SCALARS | st.floats() | st.integers() | st.sampled_from(["#", "#/a", "http://[", "object"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [*json_schema.KEYWORDS, *json_schema.LAST_KEYWORDS, "$id", "$anchor", "$defs", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(["a", *json_schema.KEYWORDS, "$id"]), JUNK), VALUES | JUNK)
def test_no_stored_schema_makes_an_application_raise(schema: dict[str, Any], value: Any) -> None:
    problem = json_schema.find_problem(value, schema)

    assert problem is None or isinstance(problem, str)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"uniqueItems": True}}, [[{"a": index} for index in range(1_500)]]),
        ({"items": {"enum": [[index] for index in range(2_000)]}}, [[7]] * 2_000),
    ],
)
def test_comparisons_take_linear_work(schema: dict[str, Any], value: Any) -> None:
    assert json_schema.find_problem(value, schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"anyOf": [{"uniqueItems": True, "maxItems": 0}] * 800}},
        {"items": {"required": ["a"] + [f"r{index}" for index in range(1_500)]}},
        {"items": {"oneOf": [{"const": 0}] * 1_000}},
    ],
)
def test_an_answer_has_one_budget_for_all_its_objects(schema: dict[str, Any]) -> None:
    meter = Meter(json_schema.MAX_APPLY_UNITS)
    value = [[{"a": 1}] * 100] * 20

    problems = {json_schema.find_problem(value, schema, meter) for _ in range(40)}

    assert json_schema.NOT_APPLICABLE in problems
    assert meter.remaining < 0


@pytest.mark.parametrize(
    ("value", "multiple", "is_multiple"),
    [
        (19.99, 0.01, True),
        (0.3, 0.1, True),
        (19.995, 0.01, False),
        (2**63 - 1, 0.5, True),
        (1e308, 5e-324, True),
        (5e-324, 1.7976931348623157e308, False),
        (-6, 4, False),
    ],
)
def test_multiples_are_those_of_the_written_decimals(
    value: float, multiple: float, is_multiple: bool
) -> None:
    problem = json_schema.find_problem(value, {"multipleOf": multiple})

    assert (problem is None) == is_multiple


@pytest.mark.parametrize(
    ("schema", "value", "is_valid"),
    [
        ({"enum": [1]}, True, False),
        ({"enum": [[1]]}, [1.0], True),
        ({"const": {"a": False}}, {"a": 0}, False),
        ({"uniqueItems": True}, [1, True], True),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], False),
        ({"uniqueItems": True}, [["array"], "array"], True),
    ],
)
def test_values_are_equal_as_json_schema_says(
    schema: dict[str, Any], value: Any, is_valid: bool
) -> None:
    assert (json_schema.find_problem(value, schema) is None) == is_valid


@pytest.mark.parametrize(
    ("schema", "is_valid"),
    [
        ({"patternProperties": {"x": False}, "unevaluatedProperties": False}, True),
        ({"allOf": [{"patternProperties": {"x": {}}}], "unevaluatedProperties": False}, True),
        ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, True),
        ({"allOf": [{"properties": {"b": {}}}], "unevaluatedProperties": False}, False),
    ],
)
def test_properties_with_patterns_count_as_evaluated(
    schema: dict[str, Any], is_valid: bool
) -> None:
    assert (json_schema.find_problem({"a": 1}, schema) is None) == is_valid


def test_a_dynamic_reference_names_the_anchor_of_the_outermost_document() -> None:
    schema = {
        "$id": "https://acme.example/strict-tree",
        "$dynamicAnchor": "node",
        "$ref": "tree",
        "unevaluatedProperties": False,
        "$defs": {
            "tree": {
                "$id": "tree",
                "$dynamicAnchor": "node",
                "properties": {"children": {"type": "array", "items": {"$dynamicRef": "#node"}}},
            }
        },
    }

    assert json_schema.find_problem({"children": [{"children": []}]}, schema) is None
    assert json_schema.find_problem({"children": [{"name": 1}]}, schema) == (
        "children/0: Additional properties are not allowed ('name' was unexpected)"
    )


class CountingText(str):
    """A text that counts how often it is compared."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountingText.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_dropping_surplus_members_takes_linear_work() -> None:
    required = [CountingText(f"r{index}") for index in range(300)]
    schema = {
        "items": {"properties": {"a": {}}, "required": required, "additionalProperties": False}
    }
    value = [{"a": None} for _ in range(200)]

    assert json_schema.drop_surplus(value, schema) == [{}] * 200
    assert CountingText.comparisons < 1_000


def test_a_value_that_is_too_deep_for_the_stack_is_a_problem() -> None:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]

    assert json_schema.find_problem(value, {"const": 1}) == json_schema.NOT_APPLICABLE
