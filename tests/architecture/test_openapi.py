"""The OpenAPI document is the contract: it is complete, and is what the app serves.

tests/clients validates it, and generates a client from it.
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

# What is made anew each time, is kept nowhere and ends by itself: a lost one is asked for again.
PASSING = "/webrtc/credentials"
METHODS = ("get", "post", "put", "patch", "delete")
# Not operations: the files of the documentation, which are the same for everybody.
FILES = "/docs/assets/{filename}"
FORMATS = {"binary", "date", "date-time", "email", "uuid"}
COMBINATIONS = {"$ref", "allOf", "anyOf", "oneOf", "not"}
# Regular expressions that mean the same in Python and in ECMA-262 with every flag. Not among them
# are `\A`, `\Z`, `\d`, `\w`, `\s`, `\b`, `.`, look-around and named groups.
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


def _served(app: Flask) -> dict[tuple[str, str], str]:
    """(path, method) of every rule of the app, and its endpoint."""
    return {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower()): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }


def _contents(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(request or status, content) of all JSON that goes in or successfully out."""
    found = [("request", operation.get("requestBody", {}).get("content", {}))]
    found += [
        (status, response.get("content", {}))
        for status, response in operation["responses"].items()
        if status.startswith("2")
    ]
    return [(what, content) for what, by_type in found for content in by_type.values()]


def _schemas(part: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (pointer, object) of every object in the document, schemas among them."""
    if isinstance(part, list):
        for position, item in enumerate(part):
            yield from _schemas(item, f"{pointer}/{position}")
    if isinstance(part, dict):
        yield pointer, part
        for name, item in part.items():
            if name not in ("example", "default", "enum"):
                yield from _schemas(item, f"{pointer}/{name}")


def _choices_of_null(document: Any) -> dict[str, dict[str, Any]]:
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


def test_every_route_is_an_operation_and_every_operation_a_route(
    bare_app: Flask, openapi_document: Any
) -> None:
    served = {key for key in _served(bare_app) if key[0] != FILES}

    assert {(path, method) for path, method, _ in _operations(openapi_document)} == served
    assert (FILES, "get") in _served(bare_app)


def test_every_operation_has_a_summary_in_one_line(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        summary = operation["summary"]
        assert summary.strip(), (method, path)
        assert "\n" not in summary
        assert not summary.endswith("."), (method, path)


def test_operation_ids_are_names_and_unique(openapi_document: Any) -> None:
    ids = Counter(operation["operationId"] for _, _, operation in _operations(openapi_document))

    assert [name for name, times in ids.items() if times > 1] == []
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in ids)


def test_every_operation_says_whether_it_needs_a_key(
    bare_app: Flask, openapi_document: Any
) -> None:
    served = _served(bare_app)
    for path, method, operation in _operations(openapi_document):
        access = declared_access(bare_app.view_functions[served[path, method]])
        assert access is not None
        keyed = access.audience not in ("anyone", "carrier")
        assert operation["security"] == ([{"key": []}] if keyed else []), (method, path)
    assert openapi_document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_operation_names_the_scope_that_it_needs(
    bare_app: Flask, openapi_document: Any
) -> None:
    served = _served(bare_app)
    for path, method, operation in _operations(openapi_document):
        access = declared_access(bare_app.view_functions[served[path, method]])
        if access is not None and access.scope:
            assert f"`{access.scope}`" in operation["description"], (method, path)


def test_every_operation_with_a_key_tells_its_errors(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        answers = set(operation["responses"])
        if not operation["security"]:
            continue
        expected = {"401", "403", "503"}
        if "{" in path:
            expected.add("404")
        if "requestBody" in operation:
            expected |= {"400", "411", "413", "415"}
        if method != "get":
            expected |= {"409"} if "/routing/" not in path else set()
        assert expected <= answers, (method, path, expected - answers)


def test_every_post_that_creates_or_orders_something_takes_an_idempotency_key(
    openapi_document: Any,
) -> None:
    taking = 0
    for path, method, operation in _operations(openapi_document):
        if path.endswith(PASSING):
            continue
        if method == "post" and {"201", "202"} & set(operation["responses"]):
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert "Idempotency-Key" in names, path
            taking += 1
    assert taking > 15


def test_every_operation_with_a_key_tells_its_limits(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        keyed = bool(operation["security"])
        assert ("429" in operation["responses"]) is (keyed or path.startswith("/telephony/"))
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                told = {"RateLimit", "RateLimit-Policy"} <= set(response.get("headers", ()))
                assert told is keyed, (method, path)


def test_every_error_is_a_problem_document(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert response["description"], (method, path, status)
                content = response.get("content", {})
                assert set(content) <= {"application/problem+json"}, (method, path, status)


def test_every_operation_shows_examples_and_they_validate(openapi_document: Any) -> None:
    judge = ResponseValidator(openapi_document)
    shown = 0
    for path, method, operation in _operations(openapi_document):
        for what, content in _contents(operation):
            if path in ("/docs", "/api/openapi.json"):  # a page, and this document
                continue
            assert "example" in content, (method, path, what)
            faults = judge.schema_errors(content["schema"], content["example"])
            assert faults == [], (method, path, what, content["example"])
            shown += 1
    assert shown > 40


def test_an_example_of_a_request_holds_nothing_that_is_read_only(openapi_document: Any) -> None:
    for path, method, operation in _operations(openapi_document):
        for what, content in _contents(operation):
            if what != "request":
                continue
            schema = content["schema"]
            while "$ref" in schema:
                schema = openapi_document["components"]["schemas"][
                    schema["$ref"].rpartition("/")[2]
                ]
            given = set(content["example"])
            read_only = {
                name for name, part in schema["properties"].items() if part.get("readOnly")
            }
            assert not given & read_only, (method, path)
            assert set(schema.get("required", ())) <= given, (method, path)


def test_a_nullable_schema_has_a_type_and_accepts_null(openapi_document: Any) -> None:
    """In OpenAPI 3.0 `nullable` adds null to a type, and to nothing else."""
    nullable = 0
    for pointer, schema in _schemas(openapi_document):
        if schema.get("nullable") is True:
            assert isinstance(schema.get("type"), str), pointer
            assert not COMBINATIONS & schema.keys(), pointer
            assert None in schema.get("enum", [None]), pointer
            nullable += 1
    assert nullable > 100


def test_a_nullable_reference_accepts_null_and_its_schema_and_nothing_else(
    openapi_document: Any,
) -> None:
    judge = ResponseValidator(openapi_document)
    places = _choices_of_null(openapi_document)

    for pointer, schema in places.items():
        whole = {**schema, "components": openapi_document["components"]}
        strict = OAS30Validator(whole)
        reference = schema["oneOf"][0]["$ref"].rpartition("/")[2]
        required = openapi_document["components"]["schemas"][reference].get("required", ())
        assert not required, f"{pointer}: {{}} is no {reference}; give this test an example"
        for value, is_valid in (
            (None, True),
            ({}, True),
            ({"unexpected": 1}, False),
            ("", False),
            ([], False),
            (False, False),
        ):
            assert strict.is_valid(value) is is_valid, (pointer, value)
            assert (judge.schema_errors(schema, value) == []) is is_valid, (pointer, value)
    assert len(places) >= 9


def test_no_schema_allows_a_choice_of_any_object(openapi_document: Any) -> None:
    """apispec writes a nullable reference as "this schema, or any object, or null"."""
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
def test_a_portable_pattern_is_recognised(pattern: str, portable: bool) -> None:
    assert bool(PORTABLE_PATTERN.fullmatch(pattern)) is portable


def test_a_pattern_matches_whole_texts_and_its_example(openapi_document: Any) -> None:
    judge = ResponseValidator(openapi_document)
    for pointer, schema in _patterns(openapi_document).items():
        example = schema["example"]
        assert re.fullmatch(schema["pattern"], example, re.ASCII), pointer
        for invalid in (f"{example}\n", f"\n{example}", f"{example}\n{example}", f" {example}"):
            assert judge.schema_errors(schema, invalid), (pointer, invalid)


def test_only_patterns_that_match_whole_texts_are_used() -> None:
    """marshmallow's own `Regexp` accepts a trailing newline."""
    used = [
        f"{module.location_of(node)}"
        for module in source_modules(roots=("vca",))
        for name, node in [*module.names(), *module.imports()]
        if name.rpartition(".")[2] == "Regexp"
    ]

    assert used == []


def test_formats_are_those_of_openapi_and_of_texts(openapi_document: Any) -> None:
    for pointer, schema in _schemas(openapi_document):
        if isinstance(schema.get("format"), str):
            assert schema["type"] == "string", pointer
            assert schema["format"] in FORMATS, pointer


def test_the_document_tells_no_address_but_our_own(openapi_document: Any) -> None:
    assert "servers" not in openapi_document or openapi_document["servers"] == []
