"""Schemas of tenants in the form that a model's server accepts, whatever they contain."""

from typing import Any

import pytest

from vca.conversation.llm.model_support import MINIMAL_SUPPORT, adapt_schema


@pytest.mark.parametrize(
    ("schema", "adapted"),
    [
        (
            {"properties": {"a": {"type": ["string", "null"]}, "b": {}}, "required": ["a", "b"]},
            {"properties": {"a": {"type": "string"}, "b": {}}, "required": ["b"]},
        ),
        (
            {"x": {"properties": {"a": {"type": 5}}, "required": ["a", {}, []]}},
            {"x": {"properties": {"a": {"type": 5}}, "required": ["a", {}, []]}},
        ),
        (
            {"dependentSchemas": {"enum": {"additionalProperties": False}}},
            {"dependentSchemas": {"enum": {}}},
        ),
    ],
)
def test_a_schema_is_adapted_and_never_raises(
    schema: dict[str, Any], adapted: dict[str, Any]
) -> None:
    assert adapt_schema(schema, MINIMAL_SUPPORT) == adapted
