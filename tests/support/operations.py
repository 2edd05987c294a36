"""The operations of the OpenAPI document, and every place in their requests that takes a value."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.support.api import ApiResponse, ResponseValidator
from vca.kit import json

METHODS = ("get", "post", "put", "patch", "delete")
_PLACEHOLDER = "@@here@@"


@dataclass(frozen=True)
class BodyField:
    """A field of a request body: its RFC 6901 pointer and its schema."""

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
    """An operation of the document."""

    method: str
    path: str
    specification: Mapping[str, Any] = field(compare=False, hash=False, repr=False)
    document: Mapping[str, Any] = field(compare=False, hash=False, repr=False)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @cached_property
    def needs_key(self) -> bool:
        """Return whether the operation requires an API key."""
        return bool(self.specification["security"])

    @cached_property
    def is_audited(self) -> bool:
        """Return whether the operation is audited: it changes something or returns content."""
        needed_scope = self.specification.get("description", "").rpartition("Needs a ")[2]
        changes = self.method != "GET" and ("`write`" in needed_scope or "`admin`" in needed_scope)
        return changes or "`content`" in needed_scope

    @cached_property
    def path_names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @cached_property
    def query(self) -> dict[str, Mapping[str, Any]]:
        """Return the query parameters and their schemas."""
        parameters = self.specification.get("parameters", [])
        return {
            parameter["name"]: parameter["schema"]
            for parameter in parameters
            if parameter["in"] == "query"
        }

    @cached_property
    def headers(self) -> list[str]:
        """Return the names of the operation's own headers."""
        parameters = self.specification.get("parameters", [])
        return [parameter["name"] for parameter in parameters if parameter["in"] == "header"]

    @cached_property
    def body_schema(self) -> Mapping[str, Any] | None:
        contents = self.specification.get("requestBody", {}).get("content", {})
        return self._resolve(next(iter(contents.values()))["schema"]) if contents else None

    @cached_property
    def platform_only(self) -> list[str]:
        """Return the fields of the body that only platform keys may send."""
        schema = self.body_schema or {}
        described = schema.get("properties", {}).items()
        return [name for name, part in described if part.get("x-platform-only")]

    @cached_property
    def fields(self) -> list[BodyField]:
        """Return every writable field of the body, nested ones included."""
        schema = self.body_schema
        return list(self._fields("", schema)) if schema is not None else []

    @cached_property
    def distinct_fields(self) -> list[BodyField]:
        """Return the fields without the items of an array whose schema equals that of a sibling.

        The days of a week share one schema, so one day is enough.
        """
        schema = self.body_schema
        return list(self._fields("", schema, once=True)) if schema is not None else []

    def url(self, ids: Mapping[str, str]) -> str:
        """Return the path with its parameters filled in. Raise KeyError if an id is missing."""
        return re.sub(r"{(\w+)}", lambda match: ids[match[1]], self.path)

    def _fields(
        self, pointer: str, schema: Mapping[str, Any], *, once: bool = False
    ) -> Iterator[BodyField]:
        array_schemas: list[Any] = []
        for name, part in schema.get("properties", {}).items():
            if part.get("readOnly"):
                continue
            if once and part.get("type") == "array" and part in array_schemas:
                yield BodyField(f"{pointer}/{name}", part)
            else:
                yield from self._nested_fields(f"{pointer}/{name}", self._resolve(part), once)
            array_schemas.append(part)

    def _nested_fields(
        self,
        pointer: str,
        schema: Mapping[str, Any],
        once: bool,
        map_example: Mapping[str, Any] | None = None,
    ) -> Iterator[BodyField]:
        """Yield the field and those in it; `map_example` is the example of a map in a map."""
        yield BodyField(pointer, schema)
        yield from self._fields(pointer, schema, once=once)
        if schema.get("type") == "array":
            yield from self._nested_fields(f"{pointer}/0", self._resolve(schema["items"]), once)
        value_schema = schema.get("additionalProperties")
        if isinstance(value_schema, dict) and value_schema:
            value_schema = self._resolve(value_schema)
            if "additionalProperties" in value_schema:
                map_example = schema.get("example")
            key, inner_example = next(iter((map_example or {"front desk": None}).items()))
            yield from self._nested_fields(f"{pointer}/{key}", value_schema, once, inner_example)

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for part in [*schema.get("allOf", ()), *schema.get("oneOf", ())][:1]:
            schema = {**schema, **part}
        if "$ref" not in schema:
            return schema
        target: Any = self.document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        resolved: Mapping[str, Any] = target
        return resolved


def operations(openapi: ResponseValidator) -> list[Operation]:
    """Return every operation of the document, in its order."""
    return [
        Operation(method.upper(), path, described, openapi.document)
        for path, described_path in openapi.document["paths"].items()
        for method, described in described_path.items()
        if method in METHODS
    ]


def distinct_operation_fields(catalogue: list[Operation]) -> set[tuple[Operation, str]]:
    """Return every field of a body; a nested field shared by many operations only once.

    Nested fields with the same pointer and schema are parsed by the same code, for example the
    hours of a new number, of a number and of a tenant. Only the first operation with such a field
    is returned.
    """
    fields: dict[tuple[str, str], tuple[Operation, str]] = {}
    for operation in catalogue:
        for body_field in operation.distinct_fields:
            is_nested = body_field.pointer.count("/") > 1
            owner = "" if is_nested else operation.name
            fields.setdefault(
                (owner + body_field.pointer, str(body_field.schema)),
                (operation, body_field.pointer),
            )
    return set(fields.values())


def error_names_field(response: ApiResponse, pointer: str) -> bool:
    """Return whether an error response names this field, or a field inside it."""
    pointers = [error["pointer"] for error in response.json.get("errors", ())]
    return any(error == pointer or error.startswith(f"{pointer}/") for error in pointers)


def build_body(
    operation: Operation, values: Mapping[str, Any], *, as_platform: bool = True
) -> dict[str, Any]:
    """Return a body with every writable field, from `values` by name or else from the schema.

    Without `as_platform`, omit the fields that only platform keys may send.
    """
    schema = operation.body_schema
    assert schema is not None
    complete_body = _object(operation, schema, values)
    if "from_phone_number_id" in complete_body:  # the API does not call the tenant's own numbers
        complete_body["to"] = values["callee"]
    if {"text", "keys"} <= complete_body.keys():  # a turn of a simulation has one of them
        del complete_body["keys"]
    excluded = () if as_platform else operation.platform_only
    return {name: value for name, value in complete_body.items() if name not in excluded}


def _object(operation: Operation, schema: Mapping[str, Any], values: Any) -> dict[str, Any]:
    return {
        name: values[name] if name in values else _value(operation, part, values)
        for name, part in schema["properties"].items()
        if not part.get("readOnly")
    }


def _value(operation: Operation, schema: Mapping[str, Any], values: Any) -> Any:
    schema = operation._resolve(schema)
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


def replace_values(original: Mapping[str, Any], raw: str, *fields: BodyField) -> bytes:
    """Return the body as JSON text, with `raw` in place of the values of these fields.

    No field may contain another.
    """
    copied_body = json.loads(json.dumps(original))
    for body_field in fields:
        container = copied_body
        for step in body_field.steps[:-1]:
            container = container[int(step) if isinstance(container, list) else step]
        last = body_field.steps[-1]
        container[int(last) if isinstance(container, list) else last] = _PLACEHOLDER
    text = json.dumps(copied_body).decode()
    return text.replace(f'"{_PLACEHOLDER}"', raw).encode("utf-8", "surrogatepass")
