"""The keywords of JSON Schema (draft 2020-12) that are checked.

Values are compared by their hashes, so that `enum` and `uniqueItems` take linear time. Regular
expressions and formats are not checked: `pattern` means nothing, and with `patternProperties` every
property counts as allowed.
"""

import operator
from collections.abc import Callable, Collection, Iterable
from fractions import Fraction
from types import NoneType
from typing import Any

from vca.conversation.json_schema.application import (
    Frame,
    KeywordCheck,
    KeywordChecks,
    Problem,
)
from vca.conversation.json_schema.definition import is_number
from vca.conversation.json_schema.meter import UnusableSchema

_FRACTION_UNITS = 40
_NO_SCHEMA_IS_VALID = "{} is not valid under any of the given schemas"


# --- Any value ---------------------------------------------------------------------------------

_TYPE_CHECKS: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: is_number(value) and value == int(value),
    "number": is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _check_type(frame: Frame, rule: Any) -> Problem | None:
    names = (rule,) if isinstance(rule, str) else rule
    if any(_TYPE_CHECKS[name](frame.value) for name in names):
        return None
    return Problem(f"{{}} is not of type {', '.join(map(repr, names))}", frame.value)


def _check_enum(frame: Frame, rule: Any) -> Problem | None:
    if frame.run.hashable(frame.value) in frame.run.value_set(rule):
        return None
    return Problem("{} is not one of {}", frame.value, rule)


def _check_const(frame: Frame, rule: Any) -> Problem | None:
    if frame.run.hashable(frame.value) == frame.run.hashable(rule):
        return None
    return Problem("it must be {}, but it is {}", rule, frame.value)


# --- Numbers and sizes -------------------------------------------------------------------------


def _check_multiple(frame: Frame, rule: Any) -> Problem | None:
    frame.run.pay(_FRACTION_UNITS)
    # As decimals, as people write them: 19.99 is a multiple of 0.01, in binary it is not.
    if Fraction(repr(frame.value)) % Fraction(repr(rule)) == 0:
        return None
    return Problem("{} is not a multiple of {}", frame.value, rule)


def _number_check(is_allowed: Callable[[Any, Any], bool], words: str) -> KeywordCheck:
    def check(frame: Frame, rule: Any) -> Problem | None:
        if is_allowed(frame.value, rule):
            return None
        return Problem(f"{{}} is {words} {{}}", frame.value, rule)

    return check


def _size_check(is_allowed: Callable[[Any, Any], bool], words: str) -> KeywordCheck:
    def check(frame: Frame, rule: Any) -> Problem | None:
        if is_allowed(len(frame.value), rule):
            return None
        return Problem(f"{{}} {words} {{}}", frame.value, rule)

    return check


# --- Lists -------------------------------------------------------------------------------------


def _check_unique(frame: Frame, rule: Any) -> Problem | None:
    if not rule or len(set(map(frame.run.hashable, frame.value))) == len(frame.value):
        return None
    return Problem("{} has the same item twice", frame.value)


def _check_prefix_items(frame: Frame, rule: Any) -> Problem | None:
    return _apply_to_items(frame, zip(rule, enumerate(frame.value), strict=False))


def _check_items(frame: Frame, rule: Any) -> Problem | None:
    frame.run.pay(len(frame.value))
    start = len(frame.schema.get("prefixItems", ()))
    return _apply_to_items(frame, ((rule, item) for item in enumerate(frame.value[start:], start)))


def _check_unevaluated_items(frame: Frame, rule: Any) -> Problem | None:
    assert frame.covered is not None
    frame.run.pay(len(frame.value))
    items = [item for item in enumerate(frame.value) if item[0] not in frame.covered.indexes]
    return _apply_to_items(frame, ((rule, item) for item in items))


def _apply_to_items(frame: Frame, pairs: Iterable[tuple[Any, tuple[int, Any]]]) -> Problem | None:
    for rule, (index, item) in pairs:
        problem = frame.apply_to_member(rule, item, index)
        if problem is not None:
            return problem
        if frame.covered is not None:
            frame.covered.indexes.add(index)
    return None


def _check_contains(frame: Frame, rule: Any) -> Problem | None:
    value = frame.value
    indexes = [index for index, item in enumerate(value) if frame.run.apply(rule, item) is None]
    if frame.covered is not None:
        frame.covered.indexes.update(indexes)
    if len(indexes) < frame.schema.get("minContains", 1):
        return Problem("{} has too few items that fit {}", value, rule)
    if len(indexes) > frame.schema.get("maxContains", len(value)):
        return Problem("{} has too many items that fit {}", value, rule)
    return None


# --- Objects -----------------------------------------------------------------------------------


def _check_required(frame: Frame, rule: Any) -> Problem | None:
    frame.run.pay(len(rule))
    for name in rule:
        if name not in frame.value:
            return Problem("{} is a required property", name)
    return None


def _check_dependent_required(frame: Frame, rule: Any) -> Problem | None:
    frame.run.pay(len(frame.value))
    problems = (_check_required(frame, rule[name]) for name in frame.value if name in rule)
    return next(filter(None, problems), None)


def _check_properties(frame: Frame, rule: Any) -> Problem | None:
    frame.run.pay(len(frame.value))
    for name, item in frame.value.items():
        if name in rule:
            problem = frame.apply_to_member(rule[name], item, name)
            if problem is not None:
                return problem
            if frame.covered is not None:
                frame.covered.names.add(name)
    return None


def _check_pattern_properties(frame: Frame, rule: Any) -> Problem | None:
    if frame.covered is not None:
        frame.run.pay(len(frame.value))
        frame.covered.names.update(frame.value)
    return None


def _check_additional_properties(frame: Frame, rule: Any) -> Problem | None:
    if "patternProperties" in frame.schema:
        return None
    return _apply_to_others(frame, rule, frame.schema.get("properties", ()))


def _check_unevaluated_properties(frame: Frame, rule: Any) -> Problem | None:
    assert frame.covered is not None
    return _apply_to_others(frame, rule, frame.covered.names)


def _apply_to_others(frame: Frame, rule: Any, names: Collection[str]) -> Problem | None:
    """Apply a schema to the properties that are not among the names."""
    frame.run.pay(len(frame.value))
    for name in [name for name in frame.value if name not in names]:
        if rule is False:
            return Problem("Additional properties are not allowed ({} was unexpected)", name)
        problem = frame.apply_to_member(rule, frame.value[name], name)
        if problem is not None:
            return problem
        if frame.covered is not None:
            frame.covered.names.add(name)
    return None


def _check_property_names(frame: Frame, rule: Any) -> Problem | None:
    problems = (frame.run.apply(rule, name) for name in frame.value)
    return next(filter(None, problems), None)


# --- Combinations ------------------------------------------------------------------------------


def _check_dependent_schemas(frame: Frame, rule: Any) -> Problem | None:
    frame.run.pay(len(frame.value))
    problems = (frame.apply(rule[name]) for name in frame.value if name in rule)
    return next(filter(None, problems), None)


def _check_all(frame: Frame, rule: Any) -> Problem | None:
    return next(filter(None, map(frame.apply, rule)), None)


def _check_any(frame: Frame, rule: Any) -> Problem | None:
    is_valid = False
    for schema in rule:
        is_valid = frame.apply(schema) is None or is_valid
        if is_valid and frame.covered is None:
            break
    return None if is_valid else Problem(_NO_SCHEMA_IS_VALID, frame.value)


def _check_one(frame: Frame, rule: Any) -> Problem | None:
    count = sum(frame.apply(schema) is None for schema in rule)
    if count == 0:
        return Problem(_NO_SCHEMA_IS_VALID, frame.value)
    if count > 1:
        return Problem("{} is valid under more than one of the given schemas", frame.value)
    return None


def _check_not(frame: Frame, rule: Any) -> Problem | None:
    if frame.run.apply(rule, frame.value) is not None:
        return None
    return Problem("{} should not be valid under {}", frame.value, rule)


def _check_if(frame: Frame, rule: Any) -> Problem | None:
    branch = "then" if frame.apply(rule) is None else "else"
    return frame.apply(frame.schema.get(branch, True))


def _check_reference(frame: Frame, rule: Any) -> Problem | None:
    return _apply_target(frame, frame.run.definition.references.get(id(frame.schema)))


def _check_dynamic_reference(frame: Frame, rule: Any) -> Problem | None:
    return _apply_target(frame, frame.run.dynamic_target(frame.schema))


def _apply_target(frame: Frame, target: Any) -> Problem | None:
    if target is None:
        raise UnusableSchema("A reference names no schema.")
    return frame.apply(target)


_NUMBERS = frozenset((int, float))
_TEXTS = frozenset((str,))
_LISTS = frozenset((list,))
_OBJECTS = frozenset((dict,))
_ALL = frozenset((NoneType, bool, int, float, str, list, dict))

KEYWORDS: KeywordChecks = {
    "type": (_ALL, _check_type),
    "enum": (_ALL, _check_enum),
    "const": (_ALL, _check_const),
    "multipleOf": (_NUMBERS, _check_multiple),
    "minimum": (_NUMBERS, _number_check(operator.ge, "less than the minimum of")),
    "maximum": (_NUMBERS, _number_check(operator.le, "greater than the maximum of")),
    "exclusiveMinimum": (_NUMBERS, _number_check(operator.gt, "not greater than")),
    "exclusiveMaximum": (_NUMBERS, _number_check(operator.lt, "not less than")),
    "minLength": (_TEXTS, _size_check(operator.ge, "has fewer characters than")),
    "maxLength": (_TEXTS, _size_check(operator.le, "has more characters than")),
    "minItems": (_LISTS, _size_check(operator.ge, "has fewer items than")),
    "maxItems": (_LISTS, _size_check(operator.le, "has more items than")),
    "uniqueItems": (_LISTS, _check_unique),
    "prefixItems": (_LISTS, _check_prefix_items),
    "items": (_LISTS, _check_items),
    "contains": (_LISTS, _check_contains),
    "minProperties": (_OBJECTS, _size_check(operator.ge, "has fewer properties than")),
    "maxProperties": (_OBJECTS, _size_check(operator.le, "has more properties than")),
    "required": (_OBJECTS, _check_required),
    "dependentRequired": (_OBJECTS, _check_dependent_required),
    "properties": (_OBJECTS, _check_properties),
    "patternProperties": (_OBJECTS, _check_pattern_properties),
    "additionalProperties": (_OBJECTS, _check_additional_properties),
    "propertyNames": (_OBJECTS, _check_property_names),
    "dependentSchemas": (_OBJECTS, _check_dependent_schemas),
    "allOf": (_ALL, _check_all),
    "anyOf": (_ALL, _check_any),
    "oneOf": (_ALL, _check_one),
    "not": (_ALL, _check_not),
    "if": (_ALL, _check_if),
    "$ref": (_ALL, _check_reference),
    "$dynamicRef": (_ALL, _check_dynamic_reference),
}
LAST_KEYWORDS: KeywordChecks = {
    "unevaluatedItems": (_LISTS, _check_unevaluated_items),
    "unevaluatedProperties": (_OBJECTS, _check_unevaluated_properties),
}
"""The keywords that judge what all others have left."""
