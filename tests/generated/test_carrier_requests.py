"""Every payload in every field of the requests that a carrier signs."""

from tests.generated import response_checks
from tests.generated.carrier_cells import (
    CarrierBodyCell,
    CarrierFieldCell,
    carrier_body_cells,
    carrier_field_cells,
)
from tests.generated.parametrize import each_cell
from tests.generated.populated_database import PopulatedDatabase
from tests.support.operations import replace_values


@each_cell(carrier_field_cells())
def test_carrier_field(cell: CarrierFieldCell, populated_database: PopulatedDatabase) -> None:
    valid_body = {
        "call_id": "a-call",
        "to": populated_database.acme.did_number,
        "from": "+14155550123",
        "state": populated_database.acme.live_call_state,
        "text": "Hello?",
        "status": "answered",
        "at": "2026-11-22T18:00:00Z",
        "code": "17",
    }
    data = replace_values(valid_body, cell.raw, cell.field)

    status = _send(populated_database, cell.action, data)

    assert status in (200, 400, 413)


@each_cell(carrier_body_cells())
def test_carrier_body(cell: CarrierBodyCell, populated_database: PopulatedDatabase) -> None:
    status = _send(populated_database, "voice", cell.body)

    assert status in (400, 413)


def _send(database: PopulatedDatabase, action: str, data: bytes) -> int:
    """Send a signed body, check the response and what it left behind, and return its status."""
    database.expect_writes()
    response = database.carrier_client.send_bytes(action, data)
    changes = database.changes()
    assert response_checks.response_faults(response) == []
    assert database.globex_changes(changes) == []
    status: int = response.status_code
    if status >= 300:
        assert changes == []
    return status
