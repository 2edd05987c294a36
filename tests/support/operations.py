"""The operations of the OpenAPI document, and every place in them where a value can travel."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from werkzeug.test import TestResponse

from tests.support.api import OpenApi
from vca.kit import json

METHODS = ("get", "post", "put", "patch", "delete")
_HERE = "@@here@@"


@dataclass(frozen=True)
class Field:
    """A place in a request's body: its RFC 6901 pointer and the schema of what stands there."""

    pointer: str
    schema: Mapping[str, Any] = field(compare=False, hash=False)

    @property
    def name(self) -> str:
        return self.pointer.rpartition("/")[2]

    @property
    def steps(self) -> list[str]:
        return self.pointer[1:].split("/")


@dataclass(frozen=True)
class Operation:
    """One operation as the document describes it."""

    method: str
    path: str
    described: Mapping[str, Any] = field(compare=False, hash=False, repr=False)
    document: Mapping[str, Any] = field(compare=False, hash=False, repr=False)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @cached_property
    def keyed(self) -> bool:
        """Whether it asks for one of our keys."""
        return bool(self.described["security"])

    @cached_property
    def told(self) -> bool:
        """Whether the audit tells of it: it changes something, or is shown content."""
        needs = self.described.get("description", "").rpartition("Needs a ")[2]
        changes = self.method != "GET" and ("`write`" in needs or "`admin`" in needs)
        return changes or "`content`" in needs

    @cached_property
    def path_names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @cached_property
    def query(self) -> dict[str, Mapping[str, Any]]:
        """Query parameters and their schemas."""
        given = self.described.get("parameters", [])
        return {each["name"]: each["schema"] for each in given if each["in"] == "query"}

    @cached_property
    def headers(self) -> list[str]:
        """Headers of its own."""
        given = self.described.get("parameters", [])
        return [each["name"] for each in given if each["in"] == "header"]

    @cached_property
    def body_schema(self) -> Mapping[str, Any] | None:
        contents = self.described.get("requestBody", {}).get("content", {})
        return self._resolved(next(iter(contents.values()))["schema"]) if contents else None

    @cached_property
    def platform_only(self) -> list[str]:
        """The fields of the body that only platform keys may send."""
        schema = self.body_schema or {}
        described = schema.get("properties", {}).items()
        return [name for name, part in described if part.get("x-platform-only")]

    @cached_property
    def fields(self) -> list[Field]:
        """Every writable place of the body, nested ones too."""
        schema = self.body_schema
        return list(self._fields("", schema)) if schema is not None else []

    @cached_property
    def unlike_fields(self) -> list[Field]:
        """The same without the insides of lists that have the schema of one beside them.

        The days of a week have one schema: one is as good as seven.
        """
        schema = self.body_schema
        return list(self._fields("", schema, once=True)) if schema is not None else []

    def url(self, ids: Mapping[str, str]) -> str:
        """The path with its parameters filled in; KeyError for one that nobody knows."""
        return re.sub(r"{(\w+)}", lambda match: ids[match[1]], self.path)

    def _fields(
        self, pointer: str, schema: Mapping[str, Any], *, once: bool = False
    ) -> Iterator[Field]:
        looked_into: list[Any] = []
        for name, part in schema.get("properties", {}).items():
            if part.get("readOnly"):
                continue
            if once and part.get("type") == "array" and part in looked_into:
                yield Field(f"{pointer}/{name}", part)
            else:
                yield from self._place(f"{pointer}/{name}", self._resolved(part), once)
            looked_into.append(part)

    def _place(self, pointer: str, schema: Mapping[str, Any], once: bool) -> Iterator[Field]:
        yield Field(pointer, schema)
        yield from self._fields(pointer, schema, once=once)
        if schema.get("type") == "array":
            yield from self._place(f"{pointer}/0", self._resolved(schema["items"]), once)
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and more:
            yield from self._place(f"{pointer}/front desk", self._resolved(more), once)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for part in [*schema.get("allOf", ()), *schema.get("oneOf", ())][:1]:
            schema = {**schema, **part}
        found: Any = schema
        if "$ref" in schema:
            found = self.document
            for step in schema["$ref"].removeprefix("#/").split("/"):
                found = found[step]
        return found


def operations(openapi: OpenApi) -> list[Operation]:
    """Every operation of the document, in its order."""
    return [
        Operation(method.upper(), path, described, openapi.document)
        for path, described_path in openapi.document["paths"].items()
        for method, described in described_path.items()
        if method in METHODS
    ]


def looked_into(catalogue: list[Operation]) -> set[tuple[Operation, str]]:
    """Every field of a body; the inside of one that many operations share at the first that has it.

    Under the same name it is the same nested schema, which reads it in the same way: the hours of a
    new number, of a number, of a tenant.
    """
    found: dict[tuple[str, str], tuple[Operation, str]] = {}
    for operation in catalogue:
        for each in operation.unlike_fields:
            inside = each.pointer.count("/") > 1
            whose = "" if inside else operation.name
            found.setdefault((whose + each.pointer, str(each.schema)), (operation, each.pointer))
    return set(found.values())


def apart(places: list[Field]) -> Iterator[list[Field]]:
    """The same places in lots, in none of which one is inside of another."""
    while places:
        lot: list[Field] = []
        for place in places:
            if not any(place.pointer.startswith(f"{each.pointer}/") for each in lot):
                lot.append(place)
        yield lot
        places = [place for place in places if place not in lot]


def is_named(answer: TestResponse, pointer: str) -> bool:
    """Whether a refusal says which field is at fault: that one, or one inside of it."""
    named = [each["pointer"] for each in answer.json.get("errors", ())]
    return any(each == pointer or each.startswith(f"{pointer}/") for each in named)


def body(
    operation: Operation, values: Mapping[str, Any], *, as_platform: bool = True
) -> dict[str, Any]:
    """A body with every writable field: from `values` by name, else of the field's own schema.

    Unless `as_platform`, without what only platform keys may send.
    """
    schema = operation.body_schema
    assert schema is not None
    whole = _object(operation, schema, values)
    if "from_phone_number_id" in whole:  # somebody else is called, not one of the tenant's own
        whole["to"] = values["callee"]
    left_out = () if as_platform else operation.platform_only
    return {name: value for name, value in whole.items() if name not in left_out}


def _object(operation: Operation, schema: Mapping[str, Any], values: Any) -> dict[str, Any]:
    return {
        name: values[name] if name in values else _value(operation, part, values)
        for name, part in schema["properties"].items()
        if not part.get("readOnly")
    }


def _value(operation: Operation, schema: Mapping[str, Any], values: Any) -> Any:
    schema = operation._resolved(schema)
    if "properties" in schema:
        return _object(operation, schema, values)
    if "example" in schema:
        return schema["example"]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date-time":
        return "2030-01-01T00:00:00Z"
    match schema["type"]:
        case "array":
            return [_value(operation, schema["items"], values)]
        case "boolean":
            return True
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "object" if schema.get("additionalProperties"):
            return {"front desk": _value(operation, schema["additionalProperties"], values)}
        case "object":
            return {}
    return "text"


def replaced(whole: Mapping[str, Any], raw: str, *places: Field) -> bytes:
    """The body as JSON text, with `raw` written where the values of these fields stood.

    None of the fields is inside of another.
    """
    copied = json.loads(json.dumps(whole))
    for place in places:
        inner = copied
        for step in place.steps[:-1]:
            inner = inner[int(step) if isinstance(inner, list) else step]
        last = place.steps[-1]
        inner[int(last) if isinstance(inner, list) else last] = _HERE
    text = json.dumps(copied).decode()
    return text.replace(f'"{_HERE}"', raw).encode("utf-8", "surrogatepass")
