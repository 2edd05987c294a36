"""Every payload in every path parameter, paths that are not served, and other methods."""

from tests.generated.hostile_client import HostileClient
from tests.generated.parametrize import each_cell
from tests.generated.populated_database import PopulatedDatabase
from tests.generated.request_cells import (
    PathCell,
    ValueCell,
    method_cells,
    path_id_cells,
    path_methods,
    unserved_path_cells,
)
from tests.support.services import app_services
from vca.kit import json


@each_cell(path_id_cells())
def test_path_id(cell: PathCell, hostile_client: HostileClient) -> None:
    url = hostile_client.url(cell.operation, **{cell.name: cell.value})
    has_body = bool(cell.operation.fields)
    data = json.dumps(hostile_client.valid_body(cell.operation)) if has_body else None

    response = hostile_client.send(cell.operation, url=url, data=data)

    assert response.status_code == 404


@each_cell(unserved_path_cells())
def test_unserved_path(cell: ValueCell, hostile_client: HostileClient) -> None:
    response = hostile_client.send(cell.operation, url=cell.value, is_documented=False)

    assert response.status_code == 404
    assert "Location" not in response.headers


@each_cell(method_cells())
def test_method(cell: ValueCell, hostile_client: HostileClient) -> None:
    method = cell.value

    response = hostile_client.send(
        cell.operation, method=method, environ={"REQUEST_METHOD": method}
    )

    assert response.status_code == 405
    allowed_methods = set(response.headers.get("Allow", "").split(", ")) - {"HEAD"}
    assert allowed_methods == path_methods(cell.operation.path)


def test_unknown_carriers_are_not_cached(populated_database: PopulatedDatabase) -> None:
    client = populated_database.app.test_client()
    client.post("/telephony/nobody/voice")
    adapter_count = len(app_services().carriers._adapters)

    for number in range(50):
        response = client.post(f"/telephony/nobody{number}/voice")
        assert (response.status_code, response.get_json()["code"]) == (404, "not-found")

    assert len(app_services().carriers._adapters) == adapter_count
