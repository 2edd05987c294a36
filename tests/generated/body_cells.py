"""The cells of the tables of request bodies: fields, whole bodies, and database columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.generated.catalogue import Cell, all_operations, operations_with_body, parsed_shape
from tests.support import payloads, request_payloads
from tests.support.operations import BodyField, Operation, distinct_operation_fields
from vca.kit import json
from vca.registry.models import metadata as public_tables
from vca.tenant.models import metadata as tenant_tables

# The number of columns in one body. A rejection must name every one of them.
_COLUMNS_PER_BODY = 10
# Names that are no column, but attributes of the product's objects or fields of its responses.
_INTERNAL_NAMES = {
    "__class__",
    "_sa",
    "duration_seconds",
    "is_admin",
    "key",
    "registration",
    "schema",
}
_ITEM_COUNT = 4_900
_LARGE_LISTS = {
    "end-phrases-of-numbers": ("end_phrases", "1"),
    "end-phrases-of-lists": ("end_phrases", "[]"),
    "tools-of-texts": ("tools", '"a"'),
}


@dataclass(frozen=True, repr=False)
class BodyFieldCell(Cell):
    """A valid body with `raw` as the JSON text of one field."""

    field: BodyField
    raw: str


@dataclass(frozen=True, repr=False)
class WholeBodyCell(Cell):
    """A complete body with extra headers, and the documented status of the response."""

    body: bytes
    headers: dict[str, str]
    status: int


@dataclass(frozen=True, repr=False)
class MassAssignmentCell(Cell):
    """A valid body with columns of the database that are no field of the operation."""

    columns: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class LargeBodyCell(Cell):
    """A body of many members that a careless validator would be slow to refuse."""

    body: bytes


@cache
def body_field_cells(method: str) -> tuple[BodyFieldCell, ...]:
    """Return the cells of every field of every body of the operations with this method."""
    return tuple(
        BodyFieldCell(operation, body_field.pointer, kind, body_field, raw)
        for operation, body_field, kinds in _body_field_kinds()
        for kind, raw in kinds.items()
        if operation.method == method
    )


def whole_body_cells() -> list[WholeBodyCell]:
    return [
        WholeBodyCell(operation, "body", kind, body, headers, status)
        for operation in operations_with_body()
        for kind, (body, headers, status) in request_payloads.BODIES.items()
    ]


def valid_body_cells() -> list[Cell]:
    return [Cell(operation, "body", "valid") for operation in operations_with_body()]


@cache
def mass_assignment_cells() -> tuple[MassAssignmentCell, ...]:
    return tuple(
        MassAssignmentCell(operation, "columns", f"{columns[0]}-to-{columns[-1]}", columns)
        for operation in operations_with_body()
        for columns in _column_batches(operation)
    )


def large_body_cells() -> list[LargeBodyCell]:
    """Return bodies for the operation that creates an AI profile, of nearly the largest size."""
    operation = next(
        candidate
        for candidate in operations_with_body()
        if candidate.method == "POST"
        and any(field.pointer == "/end_phrases" for field in candidate.fields)
    )
    bodies = {
        kind: f'{{"{name}": [{",".join([item] * _ITEM_COUNT)}]}}'.encode()
        for kind, (name, item) in _LARGE_LISTS.items()
    }
    keys = [f"k{number}" for number in range(_ITEM_COUNT)]
    bodies["transfer-targets"] = json.dumps({"transfer_targets": {key: {} for key in keys}})
    bodies["unknown-keys"] = json.dumps(dict.fromkeys(keys, 1))
    bodies["pattern"] = json.dumps({"extract": {"pattern": "(a|b)*" * 3_000}})
    return [LargeBodyCell(operation, "body", kind, body) for kind, body in bodies.items()]


def database_columns() -> set[str]:
    """Return the names of all columns, and further names that no request may set."""
    columns = {
        name
        for metadata in (public_tables, tenant_tables)
        for table in metadata.tables.values()
        for column in table.columns
        for name in (column.name, column.key)
    }
    return columns | _INTERNAL_NAMES


def _column_batches(operation: Operation) -> Iterator[tuple[str, ...]]:
    schema = operation.body_schema or {}
    fields = {name for name, part in schema["properties"].items() if not part.get("readOnly")}
    columns = sorted(database_columns() - fields)
    for start in range(0, len(columns), _COLUMNS_PER_BODY):
        yield tuple(columns[start : start + _COLUMNS_PER_BODY])


@cache
def _body_field_kinds() -> tuple[tuple[Operation, BodyField, dict[str, str]], ...]:
    """Return every field with its payloads: fields that are parsed alike share the long list."""
    fields = list(_distinct_fields())
    first_by_shape: dict[str, tuple[Operation, str]] = {}
    for operation, body_field in fields:
        shape = parsed_shape(body_field.schema)
        first_by_shape.setdefault(shape, (operation, body_field.pointer))
    with_long_list = set(first_by_shape.values())
    earlier_fields: set[tuple[str, str]] = set()
    earlier_operations: set[Operation] = set()
    result = []
    for operation, body_field in fields:
        kinds = {kind: payloads.JSON[kind] for kind in payloads.WORST}
        field_key = (body_field.pointer, str(body_field.schema))
        if field_key not in earlier_fields:
            kinds = dict(payloads.JSON)
        if operation not in earlier_operations:
            kinds |= payloads.UNREADABLE
        if (operation, body_field.pointer) in with_long_list:
            texts = payloads.texts(body_field.schema).items()
            kinds |= payloads.JSON | payloads.UNREADABLE | payloads.JSON_ONCE
            kinds |= {kind: json.dumps(text).decode() for kind, text in texts}
        earlier_fields.add(field_key)
        earlier_operations.add(operation)
        result.append((operation, body_field, kinds))
    return tuple(result)


def _distinct_fields() -> Iterator[tuple[Operation, BodyField]]:
    """Yield the fields of all bodies in the document's order, each shared nested field once."""
    catalogue = list(all_operations())
    distinct = distinct_operation_fields(catalogue)
    for operation in catalogue:
        for body_field in operation.distinct_fields:
            if (operation, body_field.pointer) in distinct:
                yield operation, body_field
