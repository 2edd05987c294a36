"""The OpenAPI document: what flask-smorest derives, and what holds for every operation.

Security, errors and examples are derived from the declared access and the schemas, so no route has
to repeat them.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import flask_smorest
from flask import Flask

from vca.api import idempotency, limits
from vca.kit.web.access import Access, declared_access
from vca.observability.metrics import RATE_LIMITS
from vca.registry.caps import CAPS, LIMIT_NAMES, LimitReached

VERSION = "3.0.3"
# A variable of a werkzeug rule, perhaps with a converter.
_RULE_VARIABLE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_METHODS = ("get", "post", "put", "patch", "delete")
_ERRORS = {
    "400": "The request is unreadable or invalid. `errors` lists the fields.",
    "401": "The API key is missing or invalid.",
    "403": "The API key lacks a scope, or the tenant is suspended.",
    "404": "The resource does not exist, belongs to another tenant, or its tenant is deleted.",
    "408": "The body is too slow (`body-too-slow`): it must be complete within 10 seconds.",
    "409": "The value is already in use, or the resource's state does not allow this.",
    "411": "The body is chunked. Send a `Content-Length`.",
    "413": "The request body is too large.",
    "415": "The request body is not JSON.",
    "429": "Too many requests (`rate-limited`; `limit` names the exceeded limit), or all threads "
    "for requests of this kind are in use (`busy`). See `Retry-After`.",
    "502": "The carrier did not carry out the operation.",
    "503": "The database is unavailable (`database-unavailable`) or too busy (`database-busy`). "
    "See `Retry-After`.",
}
# The 503 of operations that use a tenant's schema.
_TENANT_UNAVAILABLE = (
    "The database is unavailable (`database-unavailable`) or too busy (`database-busy`), or the "
    "tenant's schema is being migrated (`tenant-upgrading`). See `Retry-After`."
)
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "example": "about:blank"},
        "title": {"type": "string", "example": "Bad Request"},
        "status": {"type": "integer", "example": 400},
        "code": {
            "type": "string",
            "description": "Machine-readable reason.",
            "example": "invalid-input",
        },
        "detail": {"type": "string", "description": "Human-readable explanation."},
        "request_id": {
            "type": "string",
            "description": "Identifies the request in the server's log.",
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "in": {"type": "string", "enum": ["body", "query", "path", "header"]},
                    "pointer": {"type": "string", "example": "/did_number"},
                    "detail": {"type": "string"},
                },
            },
        },
        "id": {
            "type": "string",
            "format": "uuid",
            "description": "For `already-created` only: what the first request created.",
        },
        "limit": {
            "type": "string",
            "description": "For `rate-limited`: the exceeded limit, which is "
            f"{', '.join(f'`{name}`' for name in RATE_LIMITS)}. For `busy`: `busy`. For "
            "`limit-reached`, `too-many-webhooks` and `too-many-accounts`: the resource whose "
            "maximum the tenant, or the platform, has reached: "
            f"{', '.join(f'`{name}`' for name in LIMIT_NAMES)}.",
            "example": RATE_LIMITS[0],
        },
        "possible": {
            "type": "array",
            "items": {"type": "string"},
            "description": "For `carrier-cannot` about a language or a voice: the languages that "
            "the carrier speaks, or the voices that it has for the language.",
        },
        "database": {"type": "string", "description": "For `/healthz` only."},
        "schema": {"type": "string", "description": "For `/healthz` only."},
    },
}
# apispec's choice beside a reference that may be null. It allows any object, not only null.
_ANY_OBJECT = {"type": "object", "nullable": True}
# The choice that is only null. OpenAPI 3.0 has no type `null`, and `nullable` without a type is an
# error for some validators. A string that must be null is what the client generators read as null;
# they drop an object that must be null.
_NULL = {"type": "string", "nullable": True, "enum": [None]}
_IDEMPOTENCY_KEY_PARAMETER = {
    "in": "header",
    "name": idempotency.KEY_HEADER,
    "required": False,
    "description": "A unique value of your choice, such as a random UUID. For 24 hours, requests "
    "with the same key and the same body are executed once and return the same response.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_REPLAYED_HEADER = {
    "description": "The request was executed before. This is its first response.",
    "schema": {"type": "string", "enum": ["true"]},
}
# The limits of the key and of its tenant, on every response to a valid key.
_RATE_LIMIT_HEADERS = {
    limits.POLICY_HEADER: {
        "description": 'The limits. `"key";q=250;w=5` means 250 requests in 5 seconds.',
        "schema": {"type": "string", "example": '"key";q=250;w=5, "tenant";q=500;w=5'},
    },
    limits.STATUS_HEADER: {
        "description": "Each limit: `r` requests remain, and it is full again in `t` seconds.",
        "schema": {"type": "string", "example": '"key";r=249;t=1, "tenant";r=420;t=1'},
    },
}
# The 409 of operations that take an `Idempotency-Key`.
_IDEMPOTENCY_CONFLICT = (
    f"{_ERRORS['409']} Or the `Idempotency-Key` was used before with another body "
    "(`idempotency-key-reused`), its first request is still in progress "
    "(`idempotency-in-progress`, see `Retry-After`), or the tenant has used about "
    f"{CAPS['idempotency_keys'].maximum:,} keys in 24 hours (`limit-reached`)."
)
_ALREADY_CREATED_CONFLICT = (
    f"{_IDEMPOTENCY_CONFLICT} Or an earlier request with this key created the resource "
    "(`already-created`). Its `id` is returned, but its secret is shown only once. If you lost the "
    "response, revoke it."
)
# Schemas of flask-smorest for errors and pages that this API does not have.
_FRAMEWORK_SCHEMAS = ("Error", "PaginationMetadata")
_SAMPLES = {
    "uuid": "3f0c8f5e-7c1b-4a52-9d1e-2b8f6a4d9c10",
    "date-time": "2026-11-22T18:00:00Z",
}


class Api(flask_smorest.Api):
    """flask-smorest's API without its own format of errors."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        self._descriptions: list[Callable[[], None]] = []
        super().__init__(app)

    def defer_description(self, describe: Callable[[], None]) -> None:
        """Describe operations by calling `describe` when the document is built."""
        self._descriptions.append(describe)

    def describe_operations(self) -> None:
        """Add the operations of all blueprints to the specification, once."""
        while self._descriptions:
            self._descriptions.pop(0)()

    def _register_error_handlers(self) -> None:
        """Do nothing: `vca.api.errors` handles errors."""


def build_document(app: Flask, api: Api) -> dict[str, Any]:
    """Return the whole document, ready to be served."""
    api.describe_operations()
    spec: dict[str, Any] = _fix_nullable(api.spec.to_dict())
    components = spec.setdefault("components", {})
    own_schemas = {
        name: schema
        for name, schema in components["schemas"].items()
        if name not in _FRAMEWORK_SCHEMAS
    }
    components["schemas"] = {**own_schemas, "Problem": _PROBLEM}
    components.pop("responses", None)
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "`vca_…`"}
    }
    views = dict(_views(app))
    for path, operations in spec["paths"].items():
        for method in _METHODS:
            if method in operations:
                name, access = views[path, method]
                operations[method]["operationId"] = name
                _finalise_operation(spec, operations[method], access, path)
    return spec


def _fix_nullable(part: Any) -> Any:
    """Return a part of the document in which a nullable reference is that schema or null.

    `nullable` beside `allOf` would not do: the referenced schema still rejects null, and a client
    generated from it fails when it reads or writes null.
    """
    if isinstance(part, list):
        return [_fix_nullable(item) for item in part]
    if not isinstance(part, dict):
        return part
    fixed = {name: _fix_nullable(item) for name, item in part.items()}
    choices = fixed.get("anyOf")
    if isinstance(choices, list) and _ANY_OBJECT in choices:
        del fixed["anyOf"]
        fixed["oneOf"] = [*(item for item in choices if item != _ANY_OBJECT), _NULL]
    return fixed


def _views(app: Flask) -> Iterator[tuple[tuple[str, str], tuple[str, Access]]]:
    """Yield (path, method) of every view, with its name and its declared access."""
    for rule in app.url_map.iter_rules():
        access = declared_access(app.view_functions[rule.endpoint])
        path = _RULE_VARIABLE.sub(r"{\1}", rule.rule)
        for method in rule.methods or ():
            if access is not None:
                name = rule.endpoint.rpartition(".")[2]
                yield (path.lstrip("|"), method.lower()), (name, access)


def _finalise_operation(
    spec: dict[str, Any], operation: dict[str, Any], access: Access, path: str
) -> None:
    needs_key = access.audience not in ("anyone", "carrier")
    operation["security"] = [{"key": []}] if needs_key else []
    if access.scope:
        note = f"Needs a {'platform ' if access.audience == 'platform' else ''}key with scope "
        description = operation.get("description", "")
        second_scope = f" and `{access.additional_scope}`" if access.additional_scope else ""
        operation["description"] = f"{description}\n\n{note}`{access.scope}`{second_scope}.".strip()
    if access.idempotency != "none":
        operation["parameters"] = [*operation.get("parameters", ()), _IDEMPOTENCY_KEY_PARAMETER]
    operation["responses"] = _responses(operation, access, path)
    _describe_caps(operation)
    for media_type in _media_types(operation):
        if "schema" in media_type and "example" not in media_type:
            media_type["example"] = sample(
                spec,
                media_type["schema"],
                is_response=media_type is not _request_media_type(operation),
            )


def _describe_caps(operation: dict[str, Any]) -> None:
    """Add the maximum of what the operation creates to its description."""
    notes = [
        f"At most {cap.maximum:,} {cap.description}; then 409 "
        f"`{cap.code or LimitReached.code}` with `limit`: `{cap.name}`."
        for cap in CAPS.values()
        if operation["operationId"] in cap.operations
    ]
    if notes:
        text = operation.get("description", "")
        operation["description"] = "\n\n".join(filter(None, ("\n".join(notes), text)))


def _responses(operation: dict[str, Any], access: Access, path: str) -> dict[str, Any]:
    """Return the declared responses, and a problem document for each error of the access."""
    declared_responses = {
        status: declared
        for status, declared in operation["responses"].items()
        if "$ref" not in declared
    }
    errors = {status: _ERRORS[status] for status in _error_statuses(operation, access, path)}
    if "{tenant_id}" in path and access.needs_schema:
        errors["503"] = _TENANT_UNAVAILABLE
    if access.idempotency != "none":
        errors["409"] = (
            _ALREADY_CREATED_CONFLICT if access.idempotency == "id" else _IDEMPOTENCY_CONFLICT
        )
    for response in declared_responses.values():
        if access.idempotency == "answer":
            response.setdefault("headers", {})[idempotency.REPLAYED_HEADER] = _REPLAYED_HEADER
        if access.audience not in ("anyone", "carrier"):
            response.setdefault("headers", {}).update(_RATE_LIMIT_HEADERS)
    errors |= {
        status: declared["description"]
        for status, declared in declared_responses.items()
        if status >= "400"
    }
    return declared_responses | {status: _problem_response(text) for status, text in errors.items()}


def _error_statuses(operation: dict[str, Any], access: Access, path: str) -> Iterator[str]:
    if access.audience == "anyone":
        return
    yield from ("429", "503")
    # With an Idempotency-Key, a body counts even if the operation needs none.
    if "requestBody" in operation or access.audience == "carrier" or access.idempotency != "none":
        yield from ("400", "408", "411", "413", "415")
    if operation.get("parameters"):
        yield "400"
    if access.audience == "carrier":
        yield from ("403", "404", "502")
        return
    yield from ("401", "403")
    if "{" in path:
        yield "404"
    if access.writes:
        yield "409"
    if access.writes and access.transaction == "nothing":
        yield "502"


def _problem_response(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": schema}},
    }


def _media_types(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    request_media_type = _request_media_type(operation)
    if request_media_type:
        yield request_media_type
    for status, response in operation["responses"].items():
        if str(status).startswith("2"):
            yield from response.get("content", {}).values()


def _request_media_type(operation: dict[str, Any]) -> dict[str, Any] | None:
    media_types = operation.get("requestBody", {}).get("content", {})
    return next(iter(media_types.values()), None)


def sample(spec: dict[str, Any], schema: dict[str, Any], *, is_response: bool) -> Any:
    """Return an example of the schema from the examples of its fields.

    An example of a request has no read-only fields.
    """
    if "$ref" in schema:
        return sample(spec, _resolve(spec, schema["$ref"]), is_response=is_response)
    for part in [*schema.get("allOf", ()), *schema.get("oneOf", ())][:1]:
        return sample(spec, part, is_response=is_response)
    if "example" in schema:
        return schema["example"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return _sample_object(spec, schema, is_response=is_response)
        case "array":
            return [sample(spec, schema["items"], is_response=is_response)]
        case "boolean":
            return bool(schema.get("default", True))
        case "integer" | "number":
            return schema.get("minimum", 1)
    return _SAMPLES.get(schema.get("format", ""), "text")


def _sample_object(spec: dict[str, Any], schema: dict[str, Any], *, is_response: bool) -> Any:
    return {
        name: sample(spec, part, is_response=is_response)
        for name, part in schema.get("properties", {}).items()
        if is_response or not part.get("readOnly")
    }


def _resolve(spec: dict[str, Any], reference: str) -> dict[str, Any]:
    target: Any = spec
    for step in reference.removeprefix("#/").split("/"):
        target = target[step]
    return target  # type: ignore[no-any-return]
