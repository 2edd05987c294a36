"""The OpenAPI document: it is complete and describes what the app serves.

`tests/system/clients` validates the document and generates a client from it.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from openapi_schema_validator import OAS30Validator

from tests.support.api import ResponseValidator
from tests.support.ast_index import source_modules
from vca.kit.web.access import declared_access

# Each request creates credentials that expire and are not stored, so it takes no idempotency key.
TEMPORARY_CREDENTIALS = "/webrtc/credentials"
METHODS = ("get", "post", "put", "patch", "delete")
# Not an operation: the static files of the documentation.
STATIC_FILES = "/docs/assets/{filename}"
FORMATS = {"binary", "date", "date-time", "email", "uuid"}
COMBINATIONS = {"$ref", "allOf", "anyOf", "oneOf", "not"}
# Regular expressions that mean the same in Python and in ECMA-262 with every flag. They exclude
# `\A`, `\Z`, `\d`, `\w`, `\s`, `\b`, `.`, look-around and named groups.
_PLAIN = r"[A-Za-z0-9 _:,=@%&~#/!<>;'\"-]"
_ESCAPED = r"\\[\^$.*+?()\[\]{}|/\\]"
_CLASS = rf"\[\^?(?:[A-Za-z0-9 _:,=@%~#!<>;'\"*+?.$-]|{_ESCAPED})+\]"
_GROUP = r"\((?:\?:|(?!\?))"
_QUANTIFIER = r"[*+?]|\{[0-9]+(?:,[0-9]*)?\}"
PORTABLE_PATTERN = re.compile(
    rf"\^(?:{_PLAIN}|{_ESCAPED}|{_CLASS}|{_GROUP}|\)|\||{_QUANTIFIER})*\$"
)


def _operations(document: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, described in document["paths"].items()
        for method, operation in described.items()
        if method in METHODS
    ]


def _endpoints_by_route(app: Flask) -> dict[tuple[str, str], str]:
    """Return the endpoint of each (path, method) of the app."""
    return {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower()): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }


def _contents(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return ("request" or the status, content) of the request and of each successful response."""
    contents_by_part = [("request", operation.get("requestBody", {}).get("content", {}))]
    contents_by_part += [
        (status, response.get("content", {}))
        for status, response in operation["responses"].items()
        if status.startswith("2")
    ]
    return [
        (message_part, content)
        for message_part, content_by_type in contents_by_part
        for content in content_by_type.values()
    ]


def _schemas(node: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (pointer, object) of each object in the document, which includes every schema."""
    if isinstance(node, list):
        for position, item in enumerate(node):
            yield from _schemas(item, f"{pointer}/{position}")
    if isinstance(node, dict):
        yield pointer, node
        for name, item in node.items():
            if name not in ("example", "default", "enum"):
                yield from _schemas(item, f"{pointer}/{name}")


def _nullable_references(document: Any) -> dict[str, dict[str, Any]]:
    """Return every schema that is a reference or null, by its pointer."""
    return {
        pointer: schema
        for pointer, schema in _schemas(document)
        if any(choice.get("enum") == [None] for choice in schema.get("oneOf", ()))
    }


def _patterns(document: Any) -> dict[str, dict[str, Any]]:
    """Return every schema with a pattern, by its pointer."""
    return {
        pointer: schema
        for pointer, schema in _schemas(document)
        if isinstance(schema.get("pattern"), str)
    }


def test_every_route_is_an_operation_and_every_operation_is_a_route(
    bare_app: Flask, openapi_document: Any
) -> None:
    endpoints = {key for key in _endpoints_by_route(bare_app) if key[0] != STATIC_FILES}

    assert {(path, method) for path, method, _ in _operations(openapi_document)} == endpoints
    assert (STATIC_FILES, "get") in _endpoints_by_route(bare_app)


def test_every_operation_has_a_summary_in_one_line(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        summary = operation["summary"]
        assert summary.strip(), (method, path)
        assert "\n" not in summary
        assert not summary.endswith("."), (method, path)


def test_operation_ids_are_unique_python_names(openapi_document: Any) -> None:
    ids = Counter(operation["operationId"] for _, _, operation in _operations(openapi_document))

    assert [name for name, times in ids.items() if times > 1] == []
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in ids)


def test_every_operation_documents_whether_it_needs_a_key(
    bare_app: Flask, openapi_document: Any
) -> None:
    endpoints = _endpoints_by_route(bare_app)
    for path, method, operation in _operations(openapi_document):
        access = declared_access(bare_app.view_functions[endpoints[path, method]])
        assert access is not None
        needs_key = access.audience not in ("anyone", "carrier")
        assert operation["security"] == ([{"key": []}] if needs_key else []), (method, path)
    assert openapi_document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_operation_documents_the_scope_that_it_needs(
    bare_app: Flask, openapi_document: Any
) -> None:
    endpoints = _endpoints_by_route(bare_app)
    for path, method, operation in _operations(openapi_document):
        access = declared_access(bare_app.view_functions[endpoints[path, method]])
        if access is not None and access.scope:
            assert f"`{access.scope}`" in operation["description"], (method, path)


def test_every_operation_with_a_key_documents_its_errors(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        statuses = set(operation["responses"])
        if not operation["security"]:
            continue
        expected = {"401", "403", "503"}
        if "{" in path:
            expected.add("404")
        if "requestBody" in operation:
            expected |= {"400", "411", "413", "415"}
        if method != "get":
            expected |= {"409"} if "/routing/" not in path else set()
        assert expected <= statuses, (method, path, expected - statuses)


def test_every_post_with_a_201_or_202_response_takes_an_idempotency_key(
    openapi_document: Any,
) -> None:
    count = 0
    for path, method, operation in _operations(openapi_document):
        if path.endswith(TEMPORARY_CREDENTIALS):
            continue
        if method == "post" and {"201", "202"} & set(operation["responses"]):
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert "Idempotency-Key" in names, path
            count += 1
    assert count > 15


def test_every_operation_with_a_key_documents_its_rate_limits(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        needs_key = bool(operation["security"])
        authenticates = needs_key or path.startswith("/telephony/") or path == "/metrics"
        assert ("429" in operation["responses"]) is authenticates, (method, path)
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                has_limit_headers = {"RateLimit", "RateLimit-Policy"} <= set(
                    response.get("headers", ())
                )
                assert has_limit_headers is needs_key, (method, path)


def test_every_error_is_a_problem_document(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert response["description"], (method, path, status)
                content = response.get("content", {})
                assert set(content) <= {"application/problem+json"}, (method, path, status)


def test_every_operation_has_valid_examples(openapi_document: Any) -> None:
    validator = ResponseValidator(openapi_document)
    count = 0
    for path, method, operation in _operations(openapi_document):
        for message_part, content in _contents(operation):
            if path in ("/docs", "/api/openapi.json"):  # a page, and this document
                continue
            assert "example" in content, (method, path, message_part)
            errors = validator.schema_errors(content["schema"], content["example"])
            assert errors == [], (method, path, message_part, content["example"])
            count += 1
    assert count > 40


def test_examples_of_requests_contain_required_and_no_read_only_fields(
    openapi_document: Any,
) -> None:
    for path, method, operation in _operations(openapi_document):
        for message_part, content in _contents(operation):
            if message_part != "request":
                continue
            schema = content["schema"]
            while "$ref" in schema:
                schema = openapi_document["components"]["schemas"][
                    schema["$ref"].rpartition("/")[2]
                ]
            example_fields = set(content["example"])
            read_only = {
                name for name, node in schema["properties"].items() if node.get("readOnly")
            }
            assert not example_fields & read_only, (method, path)
            assert set(schema.get("required", ())) <= example_fields, (method, path)


def test_a_nullable_schema_has_a_type_and_accepts_null(openapi_document: Any) -> None:
    """In OpenAPI 3.0, `nullable` has no effect without a type."""
    nullable = 0
    for pointer, schema in _schemas(openapi_document):
        if schema.get("nullable") is True:
            assert isinstance(schema.get("type"), str), pointer
            assert not COMBINATIONS & schema.keys(), pointer
            assert None in schema.get("enum", [None]), pointer
            nullable += 1
    assert nullable > 100


def test_a_nullable_reference_accepts_only_null_and_its_schema(
    openapi_document: Any,
) -> None:
    validator = ResponseValidator(openapi_document)
    schemas = _nullable_references(openapi_document)

    for pointer, schema in schemas.items():
        complete_schema = {**schema, "components": openapi_document["components"]}
        strict_validator = OAS30Validator(complete_schema)
        reference = schema["oneOf"][0]["$ref"].rpartition("/")[2]
        required = openapi_document["components"]["schemas"][reference].get("required", ())
        assert not required, (
            f"{pointer}: {{}} is not a valid {reference}: add an example to this test"
        )
        for value, is_valid in (
            (None, True),
            ({}, True),
            ({"unexpected": 1}, False),
            ("", False),
            ([], False),
            (False, False),
        ):
            assert strict_validator.is_valid(value) is is_valid, (pointer, value)
            assert (validator.schema_errors(schema, value) == []) is is_valid, (pointer, value)
    assert len(schemas) >= 9


def test_no_choice_of_schemas_accepts_any_object(openapi_document: Any) -> None:
    """apispec alone renders a nullable reference as "this schema, or any object, or null"."""
    for pointer, schema in _schemas(openapi_document):
        for choice in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
            assert choice != {"type": "object", "nullable": True}, pointer


def test_patterns_mean_the_same_in_python_and_in_ecma_262(openapi_document: Any) -> None:
    patterns = _patterns(openapi_document)

    unportable = {
        pointer: schema["pattern"]
        for pointer, schema in patterns.items()
        if not PORTABLE_PATTERN.fullmatch(schema["pattern"])
    }
    assert unportable == {}
    assert len(patterns) > 20


@pytest.mark.parametrize(
    ("pattern", "portable"),
    [
        (r"^\+[1-9][0-9]{6,14}$", True),
        ("^(?:a|b)*$", True),
        (r"\A[0-9]+\Z", False),
        (r"^\d+$", False),
        (r"^\w$", False),
        ("^(?P<year>[0-9]+)$", False),
        ("^(?=a)b$", False),
        ("^.*$", False),
        ("[0-9]+", False),
    ],
)
def test_the_check_of_portable_patterns_recognises_them(pattern: str, portable: bool) -> None:
    assert bool(PORTABLE_PATTERN.fullmatch(pattern)) is portable


def test_a_pattern_matches_its_example_and_only_complete_strings(openapi_document: Any) -> None:
    validator = ResponseValidator(openapi_document)
    for pointer, schema in _patterns(openapi_document).items():
        example = schema["example"]
        assert re.fullmatch(schema["pattern"], example, re.ASCII), pointer
        for invalid in (f"{example}\n", f"\n{example}", f"{example}\n{example}", f" {example}"):
            assert validator.schema_errors(schema, invalid), (pointer, invalid)


def test_no_schema_uses_the_regexp_validator_of_marshmallow() -> None:
    """marshmallow's `Regexp` accepts a trailing newline."""
    uses = [
        f"{module.location_of(node)}"
        for module in source_modules(roots=("vca",))
        for name, node in [*module.names(), *module.imports()]
        if name.rpartition(".")[2] == "Regexp"
    ]

    assert uses == []


def test_only_strings_have_formats_and_the_formats_are_of_openapi(openapi_document: Any) -> None:
    for pointer, schema in _schemas(openapi_document):
        if isinstance(schema.get("format"), str):
            assert schema["type"] == "string", pointer
            assert schema["format"] in FORMATS, pointer


def test_the_document_names_no_server(openapi_document: Any) -> None:
    assert "servers" not in openapi_document or openapi_document["servers"] == []
