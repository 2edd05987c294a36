"""JSON Schemas of up to 20 kB, and values of up to 17 kB, that are as expensive as possible."""

from collections.abc import Callable
from random import Random
from typing import Any, TypeAlias

from vca.kit import json

MAX_SCHEMA_BYTES = 20_000
MAX_VALUE_BYTES = 17_000

Case: TypeAlias = tuple[dict[str, Any], Any]
Generator: TypeAlias = Callable[[Random], Case]

_COMBINATORS = ("allOf", "anyOf", "oneOf")
_LEAVES: tuple[Any, ...] = (
    True,
    False,
    {},
    {"type": "object"},
    {"type": "string", "minLength": 5},
    {"uniqueItems": True},
    {"multipleOf": 0.01},
    {"enum": [[1], {"a": 1}, "x", 1.5]},
    {"required": ["a", "b"]},
    {"items": {"type": "integer"}},
)


def generate(rng: Random) -> Case:
    """Return one schema and one value within the limits."""
    schema, value = rng.choice(GENERATORS)(rng)
    if rng.random() < 0.3:  # a mixture of two kinds
        other, _ = rng.choice(GENERATORS)(rng)
        combined = {rng.choice(_COMBINATORS): [schema, other]}
        if "$ref" not in str(combined):
            schema = combined
    # As JSON, in which no two members are the same Python object.
    schema, value = _shrink(schema, MAX_SCHEMA_BYTES), _shrink(value, MAX_VALUE_BYTES)
    return json.loads(json.dumps(schema)), json.loads(json.dumps(value))


def _shrink(value: Any, limit: int) -> Any:
    """Return the value with half the members as often as it takes to fit the limit."""
    while len(json.dumps(value)) > limit:
        value = _halve(value)
    return value


def _halve(value: Any) -> Any:
    """Halve the largest list, object or text, which may be inside others."""
    if isinstance(value, str):
        return value[: len(value) // 2]
    if not isinstance(value, dict | list) or not value:
        return value
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    sizes = {key: len(json.dumps(value[key])) for key in keys}
    largest = max(keys, key=sizes.__getitem__)
    if sizes[largest] * 2 > sum(sizes.values()):
        halved = _halve(value[largest])
        if halved != value[largest]:
            return (
                {**value, largest: halved}
                if isinstance(value, dict)
                else [*value[:largest], halved, *value[largest + 1 :]]
            )
    first_keys = keys[: len(keys) // 2]
    if isinstance(value, dict):
        return {key: value[key] for key in first_keys}
    return [value[key] for key in first_keys]


def _items(rng: Random) -> list[Any]:
    """Return a large list of one kind of items."""
    kinds: tuple[Callable[[int], Any], ...] = (
        lambda index: {},
        lambda index: {"a": index},
        lambda index: [index, [index]],
        lambda index: index,
        lambda index: index * 2**20 + 0.5,
        lambda index: f"{index}" * 3,
        lambda index: {"a": {"b": [index]}},
        lambda index: None,
        lambda index: 2**62 - index * 2**40,
    )
    kind = rng.choice(kinds)
    return [kind(index) for index in range(rng.choice((100, 1_000, 4_900)))]


def _nested(rng: Random) -> Case:
    def build(depth: int) -> Any:
        if depth == 0:
            return rng.choice(_LEAVES)
        return {rng.choice(_COMBINATORS): [build(depth - 1) for _ in range(width)]}

    depth, width = rng.choice(((11, 2), (7, 3), (5, 5), (3, 12), (25, 1), (1, 4_000)))
    return build(depth), rng.choice(({}, {"a": 1}, [1] * 4_000, "x" * 10_000, _items(rng)))


def _enums(rng: Random) -> Case:
    entries = _items(rng)
    schema = {"items": {"enum": entries}, "enum": [_items(rng)], "not": {"const": _items(rng)}}
    return schema, _items(rng)


def _enum_fan(rng: Random) -> Case:
    return {"items": {"anyOf": [{"enum": [[]]}, {"const": [0]}] * rng.randint(1, 400)}}, _items(rng)


def _const_fan(rng: Random) -> Case:
    return {"oneOf": [{"const": 0}] * 1_500}, _items(rng)


def _unique(rng: Random) -> Case:
    fan = rng.randint(1, 800)
    return {"anyOf": [{"uniqueItems": True, "maxItems": 0}] * fan}, _items(rng)


def _contains(rng: Random) -> Case:
    inner = rng.choice(_LEAVES)
    schema: dict[str, Any] = {"contains": inner, "minContains": rng.randint(0, 9_999)}
    for _ in range(rng.randint(0, 20)):
        schema = {"contains": schema, "items": schema, "unevaluatedItems": inner}
        if len(json.dumps(schema)) > MAX_SCHEMA_BYTES // 2:
            break
    return schema, rng.choice((_items(rng), [[[[[[]] * 5] * 5] * 5] * 5] * 5))


def _dependent(rng: Random) -> Case:
    names = [f"k{index}" for index in range(rng.choice((50, 400, 900)))]
    schema = {
        "dependentSchemas": {name: {"required": names[:3]} for name in names},
        "dependentRequired": dict.fromkeys(names, names[:5]),
        "anyOf": [{"minProperties": 10_000}, {"propertyNames": {"enum": names[:50]}}] * 20,
    }
    return schema, dict.fromkeys(names, rng.choice((1, None, {}, [])))


def _references(rng: Random) -> Case:
    count, fan = rng.choice(((30, 2), (100, 3), (300, 1), (10, 30), (2, 300)))
    keyword = rng.choice(_COMBINATORS)
    definitions: dict[str, Any] = {
        f"d{index}": {
            keyword: [{"$ref": f"#/$defs/d{(index + 1) % (count + rng.randint(0, 1))}"}] * fan
        }
        for index in range(count)
    }
    definitions[f"d{count}"] = rng.choice(_LEAVES)
    return {"$ref": "#/$defs/d0", "$defs": definitions}, rng.choice(({}, _items(rng)))


def _recursive(rng: Random) -> Case:
    value: Any = {}
    for _ in range(30):
        value = {"a": value, "b": [value] if len(json.dumps(value)) < 4_000 else []}
    inner = {"$ref": "#"}
    schema: dict[str, Any] = {
        "properties": {"a": inner, "b": {"items": inner, "contains": inner}},
        rng.choice(("additionalProperties", "unevaluatedProperties")): inner,
        "propertyNames": {"anyOf": [{"enum": ["b"]}, {"type": "string"}] * rng.randint(1, 50)},
    }
    return schema, value


def _deep(rng: Random) -> Case:
    schema: Any = {}
    keyword = rng.choice(("not", "items", "if", "additionalProperties", "contains"))
    for _ in range(rng.choice((28, 60, 100))):
        schema = {keyword: schema, "type": ["array", "object", "number"]}
    value: Any = 1
    for _ in range(28):
        value = [value, value] if len(json.dumps(value)) < 8_000 else [value]
    return schema, value


def _numbers(rng: Random) -> Case:
    multiples = (5e-324, 1e308, 0.1, 3, 2**63 - 1, 1.7976931348623157e308, 1e-300)
    rules = [{"multipleOf": rng.choice(multiples)} for _ in range(rng.choice((1, 30, 700)))]
    numbers = (1e308, 5e-324, 2**63 - 1, 0.3, -1e-300, 7)
    return {"items": {"anyOf": rules}}, [rng.choice(numbers) for _ in range(2_000)]


def _properties(rng: Random) -> Case:
    names = [f"p{index}" for index in range(rng.choice((100, 600, 1_200)))]
    schema: dict[str, Any] = {
        "items": {
            "properties": {name: {"type": "integer"} for name in names},
            "required": names[: rng.choice((0, 100))],
            "additionalProperties": False,
        },
        "properties": {name: {"maxLength": 3} for name in names[:400]},
        "unevaluatedProperties": {"anyOf": [False] * 50},
    }
    return schema, rng.choice(
        (_items(rng), dict.fromkeys(names, "x"), {f"q{n}": 1 for n in range(999)})
    )


def _texts(rng: Random) -> Case:
    text = "é" * rng.choice((10, 8_000))
    schema = {
        "anyOf": [{"const": text}, {"enum": [text + "x"]}, {"pattern": "(?i)[!-\uffff]" * 900}]
    }
    return rng.choice((schema, {"items": schema})), rng.choice((text, [text] * 900))


def _types(rng: Random) -> Case:
    entries: list[Any] = [[index, {"a": index}] for index in range(1_500)]
    return {rng.choice(("type", "required", "enum", "examples")): entries}, _items(rng)


def _patterns(rng: Random) -> Case:
    pattern = rng.choice(("(?i)[!-\uffff]", "(a|b)*", "((((", "(a+)+$")) * 1_200
    return {"pattern": pattern, "patternProperties": {pattern[:5_000]: {}}}, "a" * 10_000


def _unevaluated(rng: Random) -> Case:
    inner: dict[str, Any] = {"unevaluatedItems": {"type": "null"}, "unevaluatedProperties": False}
    for _ in range(rng.choice((5, 25))):
        inner = {"allOf": [inner, {"items": True}], "unevaluatedItems": False}
    value = {f"n{index}": index for index in range(1_500)}
    wide = {"anyOf": [{"additionalProperties": True}] * 600, "unevaluatedProperties": False}
    return rng.choice((inner, wide)), rng.choice((value, _items(rng)))


def _identifiers(rng: Random) -> Case:
    long_path = "https://acme.example/" + "a/" * rng.choice((900, 4_000))
    base = rng.choice(("http://[::1", long_path, "urn:x", "../" * rng.choice((300, 3_000))))
    parts = [{"$id": f"{'a/' * 40}{index}", "$ref": "../b"} for index in range(150)]
    return {"$id": base, "$defs": {str(index): part for index, part in enumerate(parts)}}, {}


def _pointers(rng: Random) -> Case:
    reference = (
        "#" + "/allOf/0" * rng.choice((1, 20, 200)) + rng.choice(("", "/x", "/" + "%41" * 99))
    )
    return {"allOf": [{"$ref": reference} for _ in range(rng.choice((50, 400)))]}, {}


def _anchors(rng: Random) -> Case:
    parts = [
        {"$id": f"u:{index}", "$dynamicAnchor": "n", "$dynamicRef": "#n"} for index in range(200)
    ]
    return {"$dynamicAnchor": "n", "allOf": parts, "anyOf": [{"$dynamicRef": "#n"}] * 90}, {"a": 1}


GENERATORS: tuple[Generator, ...] = (
    *(_nested, _enums, _enum_fan, _const_fan, _unique, _contains, _dependent, _references),
    *(_recursive, _deep, _numbers, _properties, _texts, _types, _patterns, _unevaluated),
    *(_identifiers, _pointers, _anchors),
)
