"""The operations of the OpenAPI document, for tables that are computed when tests are collected."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Flask

from tests.support.api import ResponseValidator
from tests.support.operations import Operation, operations
from vca.api import openapi
from vca.app import feature_modules
from vca.kit import json

APP_NAME = "VCA under test"
# What two schemas may differ in while the same code parses their values.
_UNPARSED_KEYWORDS = ("description", "example", "default", "maxLength", "minimum", "maximum")


@dataclass(frozen=True, repr=False)
class Cell:
    """One case of a table: an operation, a place in its request, and the kind of value in it."""

    operation: Operation
    place: str
    kind: str

    @property
    def id(self) -> str:
        """Return the readable, unique part of the test's id."""
        return "-".join(part for part in (self.operation.name, self.place, self.kind) if part)

    def __repr__(self) -> str:
        return self.id


@cache
def openapi_validator() -> ResponseValidator:
    """Return the validator of the OpenAPI document.

    The document is rendered from the product's blueprints. That needs no settings and no database.
    """
    app = Flask("catalogue", static_folder=None)
    app.config.update(API_TITLE=f"{APP_NAME} API", API_VERSION="1", OPENAPI_VERSION=openapi.VERSION)
    api = openapi.Api(app)
    for module in feature_modules("routes"):
        api.register_blueprint(module.blp)
    document = json.dumps(openapi.build_document(app, api))
    return ResponseValidator(json.loads(document))


@cache
def all_operations() -> tuple[Operation, ...]:
    """Return every operation of the document, in its order."""
    return tuple(operations(openapi_validator()))


def get_operations() -> list[Operation]:
    """Return the operations with the method GET."""
    return [operation for operation in all_operations() if operation.method == "GET"]


def operations_with_body() -> list[Operation]:
    """Return the operations whose body is a JSON object."""
    return [operation for operation in all_operations() if operation.fields]


def parsed_shape(schema: Mapping[str, Any]) -> str:
    """Return a text that is equal for schemas whose values are parsed by the same code."""
    shape = {name: value for name, value in schema.items() if name not in _UNPARSED_KEYWORDS}
    return str(sorted(shape.items()))
