"""Read a JSON Schema (draft 2020-12): the shapes of its keywords, and what its references name.

Nothing is fetched, and no regular expression of the schema is compiled.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from vca.conversation.json_schema.meter import Meter, UnusableSchema

MAX_NESTING = 64
TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_MAX_EXPONENT_BITS = 1_100  # of a finite float
_ANCHOR = re.compile(r"[A-Za-z_][-A-Za-z0-9._]*")
_MAX_URI_CHARS = 2_000
_URI_CHARS_PER_UNIT = 8

_SUBSCHEMA = frozenset(
    (
        *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"),
        *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_SUBSCHEMA_LISTS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_SUBSCHEMA_MAPS = frozenset(
    ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
)


def is_number(value: Any) -> bool:
    """Return whether the value is a number that arithmetic can be done with at a bounded cost."""
    if isinstance(value, float):
        return math.isfinite(value)
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value.bit_length() <= _MAX_EXPONENT_BITS
    )


def _is_text(rule: Any) -> bool:
    return isinstance(rule, str)


def _is_boolean(rule: Any) -> bool:
    return isinstance(rule, bool)


def _is_list(rule: Any) -> bool:
    return isinstance(rule, list)


def _is_filled_list(rule: Any) -> bool:
    return isinstance(rule, list) and bool(rule)


def _is_object(rule: Any) -> bool:
    return isinstance(rule, dict)


def _is_count(rule: Any) -> bool:
    return is_number(rule) and rule >= 0 and rule == int(rule)


def _is_positive(rule: Any) -> bool:
    return is_number(rule) and rule > 0


def _is_name_list(rule: Any) -> bool:
    return _is_list(rule) and all(map(_is_text, rule)) and len(set(rule)) == len(rule)


def _is_type(rule: Any) -> bool:
    names = [rule] if _is_text(rule) else rule
    return _is_name_list(names) and bool(names) and all(name in TYPES for name in names)


def _is_anchor(rule: Any) -> bool:
    return _is_text(rule) and _ANCHOR.fullmatch(rule) is not None


def _is_id(rule: Any) -> bool:
    return _is_text(rule) and "#" not in rule[:-1]


def _is_map_of_name_lists(rule: Any) -> bool:
    return isinstance(rule, dict) and all(map(_is_name_list, rule.values()))


def _is_map_of_booleans(rule: Any) -> bool:
    return isinstance(rule, dict) and all(map(_is_boolean, rule.values()))


_Shape = tuple[Callable[[Any], bool], str]
_SHAPE_GROUPS: tuple[tuple[str, _Shape], ...] = (
    ("type", (_is_type, f"Must be one of {', '.join(TYPES)}, or a list of several of them.")),
    ("enum examples", (_is_list, "Must be a list.")),
    ("required", (_is_name_list, "Must be a list of different property names.")),
    (
        "minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains",
        (_is_count, "Must be an integer of at least 0."),
    ),
    ("minimum maximum exclusiveMinimum exclusiveMaximum", (is_number, "Must be a number.")),
    ("multipleOf", (_is_positive, "Must be a number greater than 0.")),
    ("uniqueItems deprecated readOnly writeOnly", (_is_boolean, "Must be true or false.")),
    (
        "title description format pattern contentEncoding contentMediaType $comment $schema $ref"
        " $dynamicRef",
        (_is_text, "Must be a text."),
    ),
    ("$anchor $dynamicAnchor", (_is_anchor, "Must be a name of letters, digits, `-`, `.`, `_`.")),
    ("$id", (_is_id, "Must be a URI without a fragment.")),
    ("$vocabulary", (_is_map_of_booleans, "Must be an object of booleans.")),
    (" ".join(_SUBSCHEMA_LISTS), (_is_filled_list, "Must be a list of at least one schema.")),
    (" ".join(_SUBSCHEMA_MAPS), (_is_object, "Must be an object of schemas.")),
    ("dependentRequired", (_is_map_of_name_lists, "Must be an object of lists of names.")),
)
_SHAPES = {keyword: shape for keywords, shape in _SHAPE_GROUPS for keyword in keywords.split()}


_Path = tuple["_Path", str] | None
"""The place of a schema: the parent's place and one more step. Written out only for an error."""


def _steps(path: _Path, *last_steps: str) -> tuple[str, ...]:
    reversed_steps = list(reversed(last_steps))
    while path is not None:
        path, step = path
        reversed_steps.append(step)
    return tuple(reversed(reversed_steps))


@dataclass
class SchemaDefinition:
    """A schema whose keywords have the right shapes, and an index of it.

    The keys of `references`, `dynamic_references` and `bases` are the `id()` of the schema that has
    the reference or the base URI. `fault` is the first reference or id without a meaning: it
    matters only where the schema is applied.
    """

    references: dict[int, Any] = field(default_factory=dict)
    dynamic_references: dict[int, tuple[Any, str]] = field(default_factory=dict)
    bases: dict[int, str] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    anchors: dict[tuple[str, str], Any] = field(default_factory=dict)
    dynamic_anchors: dict[tuple[str, str], Any] = field(default_factory=dict)
    fault: UnusableSchema | None = None
    has_unevaluated: bool = False


def read_definition(schema: Any, meter: Meter) -> SchemaDefinition:
    """Return the schema with its index. Raises UnusableSchema if a keyword has another shape."""
    reader = _Reader(SchemaDefinition(), meter)
    reader.definition.resources[""] = schema
    reader.read_schema(schema, None, "", 0)
    reader.resolve_references()
    return reader.definition


class _Reader:
    def __init__(self, definition: SchemaDefinition, meter: Meter) -> None:
        self.definition = definition
        self._pay = meter.pay
        self._references: list[tuple[dict[str, Any], _Path, str]] = []

    def read_schema(self, schema: Any, path: _Path, base: str, depth: int) -> None:
        """Check a schema and all schemas inside it, and index them."""
        self._pay(2)
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise UnusableSchema("Must be a schema: an object, true or false.", _steps(path))
        if depth > MAX_NESTING:
            raise UnusableSchema(f"Is nested deeper than {MAX_NESTING} schemas.", _steps(path))
        if id(schema) in self.definition.bases:
            return
        base = self._read_identity(schema, path, base)
        for keyword, rule in schema.items():
            self._pay(2)
            self._check_shape(keyword, rule, path)
            if keyword in _SUBSCHEMA:
                self.read_schema(rule, (path, keyword), base, depth + 1)
            elif keyword in _SUBSCHEMA_LISTS or keyword in _SUBSCHEMA_MAPS:
                steps = enumerate(rule) if isinstance(rule, list) else rule.items()
                for step, subschema in steps:
                    place = ((path, keyword), str(step))
                    self.read_schema(subschema, place, base, depth + 1)

    def _check_shape(self, keyword: str, rule: Any, path: _Path) -> None:
        shape = _SHAPES.get(keyword)
        if shape is None:
            return
        if isinstance(rule, list):
            self._pay(len(rule))
        elif isinstance(rule, dict):
            self._pay(len(rule))
            self._pay(sum(len(item) for item in rule.values() if isinstance(item, list)))
        has_shape, detail = shape
        if not has_shape(rule):
            raise UnusableSchema(detail, _steps(path, keyword))

    def _read_identity(self, schema: dict[str, Any], path: _Path, base: str) -> str:
        """Index the schema's base URI, anchors and references, and return its base URI."""
        definition = self.definition
        identifier = schema.get("$id")
        if isinstance(identifier, str):
            try:
                base = self._join(base, identifier)[0]
                definition.resources.setdefault(base, schema)
            except ValueError:
                self._add_fault("Must be a URI.", _steps(path, "$id"))
        definition.bases[id(schema)] = base
        for keyword in ("$anchor", "$dynamicAnchor"):
            name = schema.get(keyword)
            if isinstance(name, str):
                definition.anchors.setdefault((base, name), schema)
                if keyword == "$dynamicAnchor":
                    definition.dynamic_anchors.setdefault((base, name), schema)
        if "$ref" in schema or "$dynamicRef" in schema:
            self._references.append((schema, path, base))
        if "unevaluatedItems" in schema or "unevaluatedProperties" in schema:
            definition.has_unevaluated = True
        return base

    def resolve_references(self) -> None:
        """Index what each reference names; what it names may have references too."""
        definition = self.definition
        for schema, path, base in self._references:  # it grows meanwhile
            for keyword in ("$ref", "$dynamicRef"):
                if keyword not in schema:
                    continue
                try:
                    target, uri, fragment = self._resolve(schema[keyword], base)
                except (LookupError, ValueError):
                    detail = "Must name a schema inside this one; nothing is fetched."
                    self._add_fault(detail, _steps(path, keyword))
                    continue
                # References may name schemas in places that have no meaning to JSON Schema.
                self.read_schema(target, (path, keyword), uri, 0)
                if keyword == "$ref":
                    definition.references[id(schema)] = target
                else:
                    definition.dynamic_references[id(schema)] = (target, fragment)

    def _add_fault(self, detail: str, path: tuple[str, ...]) -> None:
        if self.definition.fault is None:
            self.definition.fault = UnusableSchema(detail, path)

    def _resolve(self, reference: str, base: str) -> tuple[Any, str, str]:
        """Return what a reference names, its base URI, and the reference's fragment.

        Raises LookupError or ValueError if it names no schema.
        """
        uri, fragment = self._join(base, reference)
        target = self.definition.resources[uri]
        self._pay(2 + len(fragment) // _URI_CHARS_PER_UNIT)
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            return self.definition.anchors[uri, fragment], uri, fragment
        for step in fragment.split("/")[1:]:
            self._pay(1)
            target = _member(target, step.replace("~1", "/").replace("~0", "~"))
        if not isinstance(target, dict | bool):
            raise LookupError(fragment)
        return target, uri, fragment

    def _join(self, base: str, reference: str) -> tuple[str, str]:
        """Return the absolute URI and the fragment. Raises ValueError."""
        if reference.startswith("#"):
            return base, reference[1:]
        if len(base) + len(reference) > _MAX_URI_CHARS:
            raise ValueError("the URI is too long")
        self._pay(1 + (len(base) + len(reference)) // _URI_CHARS_PER_UNIT)
        uri, fragment = urldefrag(urljoin(base, reference))
        urlsplit(uri)
        return uri, fragment


def _member(value: Any, step: str) -> Any:
    """Return the member that one step of a pointer names. Raises LookupError or ValueError."""
    if isinstance(value, dict):
        return value[step]
    if isinstance(value, list) and step.isdecimal():
        return value[int(step)]
    raise LookupError(step)
