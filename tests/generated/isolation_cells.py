"""The cells of the isolation matrix: every operation times every place where an id can be sent.

A cell names Globex's value; the tenants exist only when the cell runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from tests.generated.catalogue import Cell, all_operations
from tests.support.operations import BodyField, Operation, distinct_operation_fields
from tests.support.populated_tenant import LIST_NAMES, RESOURCE_IDS

# Operations without one of our API keys, and why no tenant's id can be sent in them.
OPERATIONS_WITHOUT_KEY = {
    "GET /": "names the service and its links; does not query the database",
    "GET /livez": "queries nothing",
    "GET /healthz": "reads the revision of the public schema",
    "GET /metrics": "metrics of the whole deployment; not served without its own token",
    "GET /docs": "a page that is the same for everyone",
    "GET /api/openapi.json": "a document that is the same for everyone",
    "POST /telephony/{provider}/{action}": "signed by the carrier; see test_state_tokens.py",
}
TENANT_PATH = "/api/tenants/{tenant_id}"
# Headers in which a client of other systems names a tenant, a path or a method.
FOREIGN_HEADERS = (
    "X-Tenant-Id",
    "X-Tenant",
    "X-Tenant-Schema",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "X-Original-Url",
    "X-Rewrite-Url",
    "X-Forwarded-User",
    "Host",
    "Cookie",
    "Idempotency-Key",
    "If-None-Match",
)
UNDECLARED_PARAMETERS = ("tenant_id", "tenant", "schema", "search_path", "id")
FOREIGN_NUMBERS = ("did_number", "quarantined_did", "assigned_did")
_FOREIGN_VALUES = (*RESOURCE_IDS, *FOREIGN_NUMBERS, "marker")
# One value of each kind: an id, a number, a text.
_SAMPLE_VALUES = (RESOURCE_IDS[0], FOREIGN_NUMBERS[0], "marker")


@dataclass(frozen=True, repr=False)
class PathIdCell(Cell):
    """Ids of Globex in the path: `ids` maps a path parameter to the resource of the id."""

    ids: tuple[tuple[str, str], ...]
    is_upper: bool = False


@dataclass(frozen=True, repr=False)
class KeyCell(Cell):
    """Globex's API key on Acme's path, with the ids of Acme's or Globex's resources."""

    has_foreign_ids: bool


@dataclass(frozen=True, repr=False)
class QueryValueCell(Cell):
    """The named value of Globex in one query parameter."""

    name: str
    value_name: str


@dataclass(frozen=True, repr=False)
class CursorCell(Cell):
    """A cursor of another list, or a changed cursor, or a cursor with another filter."""

    owner: str
    list_name: str
    change: str = ""
    filter_value: tuple[str, str] | None = None


@dataclass(frozen=True, repr=False)
class BodyValueCell(Cell):
    """The named value of Globex in one field of the body."""

    field: BodyField
    value_name: str


@dataclass(frozen=True, repr=False)
class PlatformCell(Cell):
    """A platform operation with a tenant's key; `path_name` gets an id of Globex."""

    path_name: str | None


@dataclass(frozen=True, repr=False)
class ForeignHeaderCell(Cell):
    """A header with a value of Globex: its id, its URL, or its marker."""

    name: str
    value_name: str


def tenant_operations() -> list[Operation]:
    """Return the operations inside a tenant's path."""
    return [candidate for candidate in all_operations() if candidate.path.startswith(TENANT_PATH)]


def platform_operations() -> list[Operation]:
    """Return the operations that only a platform key may use."""
    return [
        candidate
        for candidate in all_operations()
        if candidate.name not in OPERATIONS_WITHOUT_KEY
        and not candidate.path.startswith(TENANT_PATH)
        and not candidate.path.endswith("/me")
    ]


def path_cells() -> list[PathIdCell]:
    return list(_path_cells())


def key_cells() -> list[KeyCell]:
    return [
        KeyCell(operation, "key", kind, has_foreign_ids)
        for operation in tenant_operations()
        for kind, has_foreign_ids in (("acme-ids", False), ("globex-ids", True))
    ]


def query_value_cells() -> list[QueryValueCell]:
    return list(_query_value_cells(tenant_operations()))


def cursor_cells() -> list[CursorCell]:
    return list(_cursor_cells())


@cache
def body_value_cells() -> tuple[BodyValueCell, ...]:
    return tuple(_body_value_cells(tenant_operations()))


def platform_cells() -> list[PlatformCell]:
    return [
        PlatformCell(operation, place, "globex", name)
        for operation in platform_operations()
        for place, name in [
            ("key", None),
            *((f"{{{name}}}", name) for name in operation.path_names),
        ]
    ]


def platform_body_cells() -> list[BodyValueCell]:
    return list(_body_value_cells(platform_operations()))


def platform_query_cells() -> list[QueryValueCell]:
    return list(_query_value_cells(platform_operations()))


def foreign_header_cells() -> list[ForeignHeaderCell]:
    return list(_foreign_header_cells())


def _path_cells() -> Iterator[PathIdCell]:
    for operation in tenant_operations():
        for name in operation.path_names:
            place = f"{{{name}}}"
            yield PathIdCell(operation, place, f"globex-{name}", ((name, name),))
            yield PathIdCell(operation, place, f"globex-{name}-upper", ((name, name),), True)
            if name != "tenant_id":
                for other_name in RESOURCE_IDS:
                    if other_name != name:
                        ids = ((name, other_name),)
                        yield PathIdCell(operation, place, f"globex-{other_name}", ids)
        all_ids = tuple((name, name) for name in operation.path_names)
        yield PathIdCell(operation, "path", "all-globex-ids", all_ids)


def _query_value_cells(operations: list[Operation]) -> Iterator[QueryValueCell]:
    for operation in operations:
        if operation.method != "GET":
            continue
        undeclared = [name for name in UNDECLARED_PARAMETERS if name not in operation.query]
        for name, value_name in [
            *product(operation.query, _FOREIGN_VALUES),
            *product(undeclared, _SAMPLE_VALUES),
        ]:
            yield QueryValueCell(operation, f"?{name}", f"globex-{value_name}", name, value_name)


def _cursor_cells() -> Iterator[CursorCell]:
    for operation in tenant_operations():
        if "cursor" not in operation.query:
            continue
        own_list = operation.path.removeprefix(f"{TENANT_PATH}/")
        for name in LIST_NAMES:
            yield CursorCell(operation, "?cursor", f"globex-{name}", "globex", name)
        for name in LIST_NAMES:
            if name != own_list:
                yield CursorCell(operation, "?cursor", f"acme-{name}", "acme", name)
        if own_list in LIST_NAMES:
            for change in ("cut-at-the-end", "longer", "cut-at-the-start"):
                yield CursorCell(operation, "?cursor", change, "acme", own_list, change)
            for name, schema in operation.query.items():
                if "enum" in schema:
                    yield CursorCell(
                        operation,
                        "?cursor",
                        f"other-{name}",
                        "acme",
                        own_list,
                        filter_value=(name, schema["enum"][0]),
                    )


def _body_value_cells(operations: list[Operation]) -> Iterator[BodyValueCell]:
    """Yield one value of each kind for a field that takes no text or whose schema is repeated.

    Repeated schemas are those of another day of the week or of another operation.
    """
    distinct = distinct_operation_fields(list(all_operations()))
    for operation in operations:
        for body_field in operation.fields:
            is_text = body_field.schema.get("type", "string") == "string"
            is_distinct = (operation, body_field.pointer) in distinct
            value_names = _FOREIGN_VALUES if is_text and is_distinct else _SAMPLE_VALUES
            for value_name in value_names:
                yield BodyValueCell(
                    operation, body_field.pointer, f"globex-{value_name}", body_field, value_name
                )


def _foreign_header_cells() -> Iterator[ForeignHeaderCell]:
    for operation in all_operations():
        if operation.name in OPERATIONS_WITHOUT_KEY:
            continue
        for name in operation.headers:
            yield ForeignHeaderCell(operation, name, "globex-marker", name, "marker")
        if operation.method == "GET":
            for name, value_name in product(FOREIGN_HEADERS, ("tenant_id", "url")):
                yield ForeignHeaderCell(operation, name, f"globex-{value_name}", name, value_name)
