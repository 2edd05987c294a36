"""All generated tables, and how many cells each of them has at least."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.generated import body_cells, carrier_cells, isolation_cells, request_cells
from tests.generated.catalogue import Cell


@dataclass(frozen=True)
class Table:
    """A table of cells. It may have more than `min_cells`, but not fewer."""

    name: str
    build_cells: Callable[[], Sequence[Cell]]
    min_cells: int

    def count(self) -> "TableCounts":
        cells = self.build_cells()
        return TableCounts(
            self.name,
            len({cell.operation for cell in cells}),
            len({(cell.operation, cell.place) for cell in cells}),
            len(cells),
        )


@dataclass(frozen=True)
class TableCounts:
    """The size of a table: distinct operations, distinct places in them, and cells."""

    name: str
    operations: int
    places: int
    cells: int


TABLES = (
    Table("body fields POST", lambda: body_cells.body_field_cells("POST"), 5_455),
    Table("body fields PATCH", lambda: body_cells.body_field_cells("PATCH"), 3_325),
    Table("valid bodies", body_cells.valid_body_cells, 32),
    Table("whole bodies", body_cells.whole_body_cells, 1_824),
    Table("large bodies", body_cells.large_body_cells, 6),
    Table("mass assignment", body_cells.mass_assignment_cells, 666),
    Table("plain GET", request_cells.plain_get_cells, 41),
    Table("query parameters", request_cells.query_cells, 2_991),
    Table("repeated parameters", request_cells.repeated_parameter_cells, 98),
    Table("unknown filters", request_cells.unknown_filter_cells, 820),
    Table("path ids", request_cells.path_id_cells, 3_540),
    Table("unserved paths", request_cells.unserved_path_cells, 21),
    Table("methods", request_cells.method_cells, 798),
    Table("headers", request_cells.header_cells, 3_128),
    Table("authorizations", request_cells.authorization_cells, 2_125),
    Table("carrier fields", carrier_cells.carrier_field_cells, 1_536),
    Table("carrier bodies", carrier_cells.carrier_body_cells, 57),
    Table("isolation: path", isolation_cells.path_cells, 687),
    Table("isolation: key", isolation_cells.key_cells, 130),
    Table("isolation: query", isolation_cells.query_value_cells, 1_350),
    Table("isolation: cursor", isolation_cells.cursor_cells, 260),
    Table("isolation: body", isolation_cells.body_value_cells, 2_160),
    Table("isolation: header", isolation_cells.foreign_header_cells, 864),
    Table("isolation: platform", lambda: _platform_cells(), 896),
)


def format_counts() -> Iterator[str]:
    """Yield the lines of a table of all counts, with a total."""
    counts = [table.count() for table in TABLES]
    yield _format_line("name", "operations", "places", "cells")
    for table_counts in counts:
        yield _format_line(
            table_counts.name, table_counts.operations, table_counts.places, table_counts.cells
        )
    yield _format_line("total", "", "", sum(table_counts.cells for table_counts in counts))


def _format_line(name: str, operations: object, places: object, cells: object) -> str:
    return f"{name:<20} | {operations:>10} | {places:>6} | {cells:>6}"


def _platform_cells() -> list[Cell]:
    return [
        *isolation_cells.platform_cells(),
        *isolation_cells.platform_body_cells(),
        *isolation_cells.platform_query_cells(),
    ]
