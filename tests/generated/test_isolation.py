"""The isolation matrix: every operation times every place where a foreign id can be sent.

Acme sends values of Globex. The response must be the one to a made-up value, because missing and
foreign are the same; it must contain nothing of Globex, and must not change Globex's rows. A new
operation, parameter or field of the OpenAPI document is in the matrix automatically.
"""

from tests.generated.isolation_cells import (
    BodyValueCell,
    CursorCell,
    ForeignHeaderCell,
    KeyCell,
    PathIdCell,
    PlatformCell,
    QueryValueCell,
    body_value_cells,
    cursor_cells,
    foreign_header_cells,
    key_cells,
    path_cells,
    platform_body_cells,
    platform_cells,
    platform_query_cells,
    query_value_cells,
)
from tests.generated.isolation_client import IsolationClient
from tests.generated.parametrize import each_cell


@each_cell(path_cells())
def test_foreign_path_id(cell: PathIdCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_path(cell)


@each_cell(key_cells())
def test_foreign_key(cell: KeyCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_key(cell)


@each_cell(query_value_cells())
def test_foreign_query_value(cell: QueryValueCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_query(cell)


@each_cell(cursor_cells())
def test_foreign_cursor(cell: CursorCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_cursor(cell)


@each_cell(body_value_cells())
def test_foreign_body_value(cell: BodyValueCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_body(cell)


@each_cell(foreign_header_cells())
def test_foreign_header(cell: ForeignHeaderCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_header(cell)


@each_cell(platform_cells())
def test_platform_operation(cell: PlatformCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_platform(cell)


@each_cell(platform_body_cells())
def test_platform_body_value(cell: BodyValueCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_body(cell, status=403)


@each_cell(platform_query_cells())
def test_platform_query_value(cell: QueryValueCell, isolation_client: IsolationClient) -> None:
    isolation_client.check_query(cell, status=403)
