"""A REST client that validates every response against the OpenAPI document."""

import re
from typing import TYPE_CHECKING, Any, cast

from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft4Validator, FormatChecker
from werkzeug.test import TestResponse, run_wsgi_app

from vca.kit import json


class ResponseValidator:
    """Validates responses against the served OpenAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._paths = {
            path: re.compile("^" + re.sub(r"\{[^}]+\}", "[^/]+", path) + "$")
            for path in document["paths"]
        }
        self._validators: dict[int, Draft4Validator] = {}
        self._operations: dict[tuple[str, str], dict[str, Any] | None] = {}
        self._valid: set[tuple[int, bytes]] = set()

    def check_response(self, method: str, path: str, response: TestResponse) -> None:
        """Fail unless the document describes this response."""
        operation = self._operation(method, path)
        if operation is None:
            assert response.status_code in (404, 405)
            return
        status = str(response.status_code)
        assert status in operation["responses"], (
            f"{method} {path} returned the undocumented {status}"
        )
        contents = operation["responses"][status].get("content", {})
        if not response.data:
            assert not contents or method == "HEAD"
            return
        media_type = response.mimetype or ""
        assert media_type in contents or not contents, f"{media_type} for {status}"
        if "json" in media_type and contents:
            self._validate_once(contents[media_type]["schema"], without_request_id(response))

    def _validate_once(self, schema: dict[str, Any], data: bytes) -> None:
        """Validate a body, unless the same bytes were valid for the same schema before."""
        if (id(schema), data) not in self._valid:
            self._validate(schema, json.loads(data))
            self._valid.add((id(schema), data))

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        if (method, path) not in self._operations:
            self._operations[method, path] = self._find_operation(method, path)
        return self._operations[method, path]

    def _find_operation(self, method: str, path: str) -> dict[str, Any] | None:
        method = "GET" if method == "HEAD" else method
        for template, pattern in self._paths.items():
            if pattern.match(path) and method.lower() in self.document["paths"][template]:
                operation: dict[str, Any] = self.document["paths"][template][method.lower()]
                return operation
        return None

    def _validate(self, schema: dict[str, Any], value: Any) -> None:
        errors = self.schema_errors(schema, value)
        assert not errors, errors

    def schema_errors(self, schema: dict[str, Any], value: Any) -> list[str]:
        """Return up to five violations of a schema of this document."""
        if id(schema) not in self._validators:
            json_schema = _strict_schema({**schema, "components": self.document["components"]})
            self._validators[id(schema)] = Draft4Validator(
                json_schema, format_checker=FormatChecker()
            )
        validation_errors = self._validators[id(schema)].iter_errors(value)
        return [f"{list(error.path)}: {error.message}" for error in validation_errors][:5]


def _strict_schema(schema: Any) -> Any:
    """Return an OpenAPI 3.0 schema as JSON Schema for Python; undocumented fields are errors.

    Patterns are ECMA-262, where `$` does not match before a trailing newline.
    """
    if isinstance(schema, list):
        return [_strict_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict_schema(value) for name, value in schema.items() if name != "nullable"}
    if isinstance(strict.get("properties"), dict):
        strict.setdefault("additionalProperties", False)
    if isinstance(strict.get("pattern"), str) and strict["pattern"].endswith("$"):
        strict["pattern"] = strict["pattern"][:-1] + r"\Z"
    if schema.get("nullable") is True:
        return {"anyOf": [{"type": "null"}, strict]}
    return strict


def without_request_id(response: TestResponse) -> bytes:
    """Return the body with a constant in place of the request id, to compare bodies."""
    request_id = response.headers.get("X-Request-Id", "")
    body: bytes = response.data
    return body.replace(request_id.encode(), b"an-id") if request_id else body


_VALIDATORS: dict[int, ResponseValidator] = {}


def validator_of(app: Flask) -> ResponseValidator:
    """Return the validator of this app's document."""
    if id(app) not in _VALIDATORS:
        _VALIDATORS[id(app)] = ResponseValidator(json.loads(app.extensions["openapi"].render()))
    return _VALIDATORS[id(app)]


class CookielessClient(FlaskClient):
    """Skip Flask's cookie handling, which parses the URL of every response even without cookies."""

    def run_wsgi_app(self, environ: dict[str, Any], buffered: bool = False) -> Any:
        if self._cookies is None:
            return run_wsgi_app(self.application, environ, buffered=buffered)
        return super().run_wsgi_app(environ, buffered)


class ApiResponse(TestResponse):
    """A response of the API, for type checkers: a test may read `json` without a check for None."""

    if TYPE_CHECKING:

        @property
        def json(self) -> Any: ...


class Api:
    """A client of the API with one key, or without a key."""

    def __init__(self, app: Flask, validator: ResponseValidator, *, key: str | None) -> None:
        self._client = app.test_client(use_cookies=False)
        self._validator = validator
        self.key = key

    def send(
        self,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, Any] | None = None,
    ) -> ApiResponse:
        """Send a request and validate the response."""
        sent_headers = dict(headers or {})
        if self.key is not None:
            sent_headers.setdefault("Authorization", f"Bearer {self.key}")
        if json_body is not None:
            data = json.dumps(json_body)
            sent_headers.setdefault("Content-Type", "application/json")
        response = cast(
            ApiResponse,
            self._client.open(
                path, method=method, data=data, headers=sent_headers, query_string=query
            ),
        )
        self._validator.check_response(method, path.partition("?")[0], response)
        return response

    def get(self, path: str, **query: Any) -> ApiResponse:
        return self.send("GET", path, query=query or None)

    def post(self, path: str, body: Any = None, **options: Any) -> ApiResponse:
        return self.send("POST", path, json_body=body, **options)

    def patch(self, path: str, body: Any) -> ApiResponse:
        return self.send("PATCH", path, json_body=body)

    def delete(self, path: str) -> ApiResponse:
        return self.send("DELETE", path)
