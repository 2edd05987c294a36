"""Every payload in every field of every request body."""

from tests.generated import response_checks
from tests.generated.body_cells import BodyFieldCell, body_field_cells
from tests.generated.hostile_client import HostileClient
from tests.generated.parametrize import each_cell
from tests.support.operations import error_names_field, replace_values


@each_cell([*body_field_cells("POST"), *body_field_cells("PATCH")])
def test_body_field(cell: BodyFieldCell, hostile_client: HostileClient) -> None:
    valid_body = hostile_client.valid_body(cell.operation)
    data = replace_values(valid_body, cell.raw, cell.field)

    response = hostile_client.send(cell.operation, data=data)

    if response.status_code < 300:
        hostile_client.check_accepted(cell.operation, data)
    elif response.status_code == 400 and not error_names_field(response, cell.field.pointer):
        # Only a body that is no JSON at all may be refused without the name of the field.
        assert response.json["code"] == "unreadable-body", response.text[:300]
        assert not response_checks.parse_standard_json(data)[0], response.text[:300]
