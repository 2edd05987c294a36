"""Request bodies as a whole: valid ones, malformed ones, large ones, and ones with columns."""

from time import process_time

from tests.generated.body_cells import (
    LargeBodyCell,
    MassAssignmentCell,
    WholeBodyCell,
    database_columns,
    large_body_cells,
    mass_assignment_cells,
    valid_body_cells,
    whole_body_cells,
)
from tests.generated.catalogue import Cell
from tests.generated.hostile_client import HostileClient
from tests.generated.parametrize import each_cell
from tests.support.operations import error_names_field
from vca.kit import json

_MAX_PROCESS_S = 0.75


@each_cell(valid_body_cells())
def test_valid_body(cell: Cell, hostile_client: HostileClient) -> None:
    """The bodies in which the other tables replace one value are accepted as they are."""
    data = json.dumps(hostile_client.valid_body(cell.operation))

    response = hostile_client.send(cell.operation, data=data)

    # The call's profile has no transfer target with the name of the example.
    is_expected = any(
        cell.operation.path.endswith(path) and code in response.text
        for path, code in (("/transfer", "unknown-target"), ("/outcome", "call-not-transferring"))
    )
    assert is_expected or response.status_code < 300, response.text


@each_cell(whole_body_cells())
def test_whole_body(cell: WholeBodyCell, hostile_client: HostileClient) -> None:
    response = hostile_client.send(cell.operation, data=cell.body, headers=cell.headers)

    assert response.status_code == cell.status


@each_cell(large_body_cells())
def test_large_body_is_refused_quickly(cell: LargeBodyCell, hostile_client: HostileClient) -> None:
    started_s = process_time()

    hostile_client.send(cell.operation, data=cell.body)

    assert process_time() - started_s <= _MAX_PROCESS_S


@each_cell(mass_assignment_cells())
def test_mass_assignment(cell: MassAssignmentCell, hostile_client: HostileClient) -> None:
    data = hostile_client.body_with_columns(cell.operation, cell.columns)

    response = hostile_client.send(cell.operation, data=data)

    assert response.status_code == 400
    unnamed = [name for name in cell.columns if not error_names_field(response, f"/{name}")]
    assert unnamed == [], response.text[:200]


def test_mass_assignment_tries_every_column() -> None:
    important_columns = {"id", "tenant_id", "status", "version", "key_hash", "revoked_at"}

    assert important_columns <= database_columns()
