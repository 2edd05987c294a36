"""The cells of the tables of queries, paths, headers and methods."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote

from tests.generated.catalogue import Cell, all_operations, get_operations, parsed_shape
from tests.support import payloads, request_payloads
from tests.support.operations import Operation

UNSERVED_PATHS = {
    "slash-at-the-end": "/api/me/",
    "two-slashes": "/api//me",
    "dot": "/api/./me",
    "dots": "/api/../api/me",
    "capitals": "/API/ME",
    "nul-byte": "/api/me%00",
    "header-injection": "/api/me%0d%0aX-Evil:1",
    "path-parameter": "/api/me;x=1",
    "encoded-dots": "/%2e%2e/%2e%2e/etc/passwd",
    "assets-dots": "/docs/assets/../../../../etc/passwd",
    "assets-encoded-dots": "/docs/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "assets-nul-byte": "/docs/assets/%00",
    "assets-absolute": "/docs/assets//etc/passwd",
    "source-file": "/static/app.py",
    "environment-file": "/.env",
    "git-folder": "/.git/config",
    "debugger": "/console",
    "metrics": "/metrics",
    "8-kb": "/" + "a" * 8_000,
    "not-utf-8": "/%ff%fe",
    "arabic-digit": "/\u0661",
}


@dataclass(frozen=True, repr=False)
class ValueCell(Cell):
    """A value that is placed in a request as it is: a query value, a path segment, a path."""

    value: str


@dataclass(frozen=True, repr=False)
class QueryCell(Cell):
    """A value of one query parameter; `value` is as it stands in the URL."""

    name: str
    value: str


@dataclass(frozen=True, repr=False)
class UnknownFilterCell(Cell):
    """Values of query parameters that no operation has."""

    values: tuple[str, ...]

    @property
    def query(self) -> str:
        return "&".join(f"filter_{index}={value}" for index, value in enumerate(self.values))


@dataclass(frozen=True, repr=False)
class PathCell(Cell):
    """A value of one path parameter; `value` is as it stands in the URL."""

    name: str
    value: str


@dataclass(frozen=True, repr=False)
class HeaderCell(Cell):
    """Headers by their names in the WSGI environment."""

    environ: dict[str, str]


@dataclass(frozen=True, repr=False)
class AuthorizationCell(Cell):
    """An Authorization header; None for none. `{key}` stands for a valid key."""

    value: str | None


@cache
def query_cells() -> tuple[QueryCell, ...]:
    """Return the cells of every declared query parameter, with valid values of an enum as well."""
    parameters = [
        (operation, name, schema)
        for operation in all_operations()
        for name, schema in operation.query.items()
    ]
    first_by_shape: dict[str, tuple[Operation, str]] = {}
    for operation, name, schema in parameters:
        first_by_shape.setdefault(parsed_shape(schema), (operation, name))
    with_texts = set(first_by_shape.values())
    earlier_parameters: set[tuple[str, str]] = set()
    cells = []
    for operation, name, schema in parameters:
        if operation.method != "GET":
            continue
        is_first = (name, str(schema)) not in earlier_parameters
        earlier_parameters.add((name, str(schema)))
        texts = {f"value-{value}": value for value in schema.get("enum", ()) if value}
        if (operation, name) in with_texts:
            texts |= payloads.texts(schema)
        values = _query_values(texts, use_long_list=is_first)
        cells += [
            QueryCell(operation, f"?{name}", kind, name, value) for kind, value in values.items()
        ]
    return tuple(cells)


def plain_get_cells() -> list[Cell]:
    return [Cell(operation, "", "no-query") for operation in get_operations()]


def repeated_parameter_cells() -> list[QueryCell]:
    return [
        QueryCell(operation, f"?{name}", "repeated", name, "1")
        for operation in all_operations()
        for name in operation.query
    ]


def unknown_filter_cells() -> list[UnknownFilterCell]:
    """Return a cell for each value, and one with all values that can be parsed together."""
    values = _query_values({}, use_long_list=False)
    parsed_values = tuple(
        value
        for kind, value in values.items()
        if kind in request_payloads.QUERY and kind != "nul-byte"
    )
    cell_values = {"all-parsed-values": parsed_values}
    cell_values |= {kind: (value,) for kind, value in values.items()}
    return [
        UnknownFilterCell(operation, "?filter", kind, filter_values)
        for operation in get_operations()
        for kind, filter_values in cell_values.items()
    ]


def path_id_cells() -> list[PathCell]:
    return [
        PathCell(operation, f"{{{name}}}", kind, name, value)
        for operation in all_operations()
        for name in operation.path_names
        for kind, value in request_payloads.IDS.items()
    ]


def unserved_path_cells() -> list[ValueCell]:
    operation = next(candidate for candidate in all_operations() if candidate.name == "GET /api/me")
    return [ValueCell(operation, "path", kind, path) for kind, path in UNSERVED_PATHS.items()]


def header_cells() -> list[HeaderCell]:
    return [
        HeaderCell(operation, "header", kind, environ)
        for operation in all_operations()
        for kind, environ in request_payloads.HEADERS.items()
    ]


def authorization_cells() -> list[AuthorizationCell]:
    return [
        AuthorizationCell(operation, "authorization", kind, value)
        for operation in all_operations()
        for kind, value in request_payloads.AUTHORIZATIONS.items()
        if operation.needs_key
    ]


def method_cells() -> list[ValueCell]:
    """Return the methods that each operation's path does not have."""
    return list(_method_cells())


def path_methods(path: str) -> set[str]:
    """Return the methods that the document describes for this path."""
    return {operation.method for operation in all_operations() if operation.path == path}


def _method_cells() -> Iterator[ValueCell]:
    for operation in all_operations():
        for method in request_payloads.METHODS:
            if method.replace("HEAD", "GET") not in path_methods(operation.path):
                kind = method.lower() if method.isascii() else "not-ascii"
                yield ValueCell(operation, "method", kind, method)


def _query_values(texts: dict[str, str], *, use_long_list: bool) -> dict[str, str]:
    """Return values by kind as they stand in a URL."""
    values = {
        kind: quote(value, safe="")
        for kind, value in request_payloads.QUERY.items()
        if use_long_list or kind in request_payloads.WORST_QUERY
    }
    values |= {kind: quote(value, safe="") for kind, value in texts.items()}
    return values | {
        kind: value
        for kind, value in request_payloads.RAW_QUERY.items()
        if use_long_list or kind in request_payloads.WORST_RAW_QUERY
    }
