"""Every payload in the headers of every operation, and in the Authorization header."""

from tests.generated.hostile_client import HostileClient
from tests.generated.parametrize import each_cell
from tests.generated.request_cells import (
    AuthorizationCell,
    HeaderCell,
    authorization_cells,
    header_cells,
)
from tests.support.request_payloads import IDS


@each_cell(header_cells())
def test_header(cell: HeaderCell, hostile_client: HostileClient) -> None:
    """No header changes what is read. Operations that change something get unknown ids."""
    is_get = cell.operation.method == "GET"
    unknown_ids = {} if is_get else dict.fromkeys(cell.operation.path_names, IDS["unknown"])
    unknown_ids = {name: value for name, value in unknown_ids.items() if name.endswith("_id")}
    expected_status = hostile_client.plain_response(cell.operation).status_code if is_get else None

    response = hostile_client.send(
        cell.operation,
        url=hostile_client.url(cell.operation, **unknown_ids),
        data=None if is_get else b"{}",
        environ=cell.environ,
    )

    assert expected_status in (None, response.status_code)
    assert "evil" not in f"{response.headers} {response.text}".lower()


@each_cell(authorization_cells())
def test_authorization(cell: AuthorizationCell, hostile_client: HostileClient) -> None:
    """Every invalid authorization gets the same response, whatever is wrong with it."""
    key = str(hostile_client.key(cell.operation))
    value = None if cell.value is None else cell.value.replace("{key}", key)
    environ = {} if value is None else {"HTTP_AUTHORIZATION": value}

    response = hostile_client.send(
        cell.operation, data=b"{}", headers={"Authorization": ""}, environ=environ
    )

    assert response.status_code == 401
    assert hostile_client.unauthorized_text() == response.text.replace(
        response.headers["X-Request-Id"], ""
    )
