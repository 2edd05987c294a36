"""Every payload in every query parameter, and parameters that no operation has."""

from typing import Any

from tests.generated.catalogue import Cell
from tests.generated.hostile_client import HostileClient
from tests.generated.parametrize import each_cell
from tests.generated.request_cells import (
    QueryCell,
    UnknownFilterCell,
    plain_get_cells,
    query_cells,
    repeated_parameter_cells,
    unknown_filter_cells,
)
from tests.support.api import ApiResponse
from tests.support.operations import error_names_field


@each_cell(plain_get_cells())
def test_plain_get(cell: Cell, hostile_client: HostileClient) -> None:
    response = hostile_client.send(cell.operation)

    assert response.status_code in (200, 404)


@each_cell(query_cells())
def test_query_parameter(cell: QueryCell, hostile_client: HostileClient) -> None:
    """A query is refused by its name, or returns those rows of the plain list that match."""
    plain_rows = {str(row) for row in hostile_client.plain_response(cell.operation).json or ()}
    url = f"{hostile_client.url(cell.operation)}?{cell.name}={cell.value}"

    response = hostile_client.send(cell.operation, url=url)

    if response.status_code == 400:
        is_named = error_names_field(response, f"/{cell.name}")
        is_named = is_named or error_names_field(response, "/limit[]")
        assert is_named or "percent-encoded" in response.text, response.text[:300]
        return
    is_valid_value = cell.kind.startswith("value-")
    if is_valid_value and response.status_code == 404:
        return  # the call has no recording of this kind
    assert response.status_code == 200
    if not response.is_json:  # audio, or a list as CSV
        assert is_valid_value
        return
    if cell.operation.path.startswith("/api/tenants/"):
        assert {str(row) for row in response.json} <= plain_rows
    expected_value = response.request.args.get(cell.name, "")
    other_rows = [
        row
        for row in response.json
        if cell.name in row and _as_query_value(row[cell.name]) != expected_value
    ]
    assert other_rows == []


@each_cell(repeated_parameter_cells())
def test_repeated_parameter_is_refused(cell: QueryCell, hostile_client: HostileClient) -> None:
    parameter = f"{cell.name}={cell.value}"
    url = f"{hostile_client.url(cell.operation)}?{parameter}&{parameter}"

    response = hostile_client.send(cell.operation, url=url)

    assert response.status_code == 400
    assert error_names_field(response, f"/{cell.name}"), response.text[:200]


@each_cell(unknown_filter_cells())
def test_unknown_filter(cell: UnknownFilterCell, hostile_client: HostileClient) -> None:
    """An operation with parameters refuses all others by name; one without ignores the query."""
    url = f"{hostile_client.url(cell.operation)}?{cell.query}"

    response = hostile_client.send(cell.operation, url=url)

    if cell.operation.query and not _is_unparsed_query(response):
        assert response.status_code == 400
        names = [f"/filter_{index}" for index in range(len(cell.values))]
        assert [name for name in names if name not in response.text] == []


def _is_unparsed_query(response: ApiResponse) -> bool:
    """Return whether a query was refused before any parameter was parsed."""
    return response.status_code == 400 and response.json["detail"].startswith("The query is not ")


def _as_query_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
