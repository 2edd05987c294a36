"""Two apps in one process, each with a database, secrets and settings of its own."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import make_url

from tests.support import databases
from tests.support.concurrency import run_concurrently
from tests.support.databases import DatabaseServer
from vca.app import create_app
from vca.jobs import queue
from vca.kit.number_ranges import parse_ranges
from vca.registry.api_keys import service as api_keys
from vca.servers import worker
from vca.services import EXTENSION, Services
from vca.settings import Settings
from vca.tenancy.session import public_session

# A number that only the second app's numbering plan has.
ADDED_NUMBER = "+19245550123"
NUMBER = "+14155550188"


@pytest.fixture
def second_app(
    app: Flask, settings: Settings, database_server: DatabaseServer, tmp_path: Path
) -> Iterator[Flask]:
    """Return an app beside the app under test."""
    name = f"{make_url(settings.migration_database_url).database}_second"
    url = database_server.clone_template(name)
    second_app = create_app(
        replace(
            settings,
            database_url=databases.as_login(url, databases.WEB),
            worker_database_url=databases.as_login(url, databases.WORKER),
            migration_database_url=url,
            secret_key="the-secret-of-the-second-app-and-no-other",
            api_key_peppers=("the-pepper-of-the-second-app-and-no-other",),
            recording_store=f"folder:{tmp_path}",
            diallable_prefixes=parse_ranges("+1924=US"),
        )
    )
    yield second_app
    services_of(second_app).database.close()
    database_server.drop_database(name)


def services_of(app: Flask) -> Services:
    services: Services = app.extensions[EXTENSION]
    return services


def create_platform_key(app: Flask) -> str:
    with public_session(database=services_of(app).database) as session:
        pepper = app.config["PEPPERS"][0]
        return api_keys.create(session, name="test", tenant_id=None, pepper=pepper)[1]


def send(client: FlaskClient, method: str, path: str, key: str, body: Any = None) -> Any:
    response = client.open(
        path, method=method, json=body, headers={"Authorization": f"Bearer {key}"}
    )
    return {"status": response.status_code, "body": response.get_json()}


def hold_a_call(app: Flask, name: str) -> dict[str, Any]:
    """Create a tenant with a number, call it, and return what the app says of both."""
    key = create_platform_key(app)
    request = partial(send, app.test_client())
    tenant_id = request("POST", "/api/tenants", key, {"name": name})["body"]["id"]
    base = f"/api/tenants/{tenant_id}"
    request(
        "POST",
        f"{base}/ai-profiles",
        key,
        {"name": name, "system_prompt": "You answer.", "greeting": f"Hello from {name}."},
    )
    number = request("POST", f"{base}/phone-numbers", key, {"did_number": NUMBER})
    simulation = request("POST", f"{base}/simulations", key, {"to": NUMBER})
    call_id = simulation["body"]["call_id"]
    turn = request("POST", f"{base}/simulations/{call_id}/turns", key, {"text": "Hello?"})
    request("POST", f"{base}/calls/{call_id}/hangup", key)
    number_path = f"{base}/phone-numbers/{number['body']['id']}"
    forwarded = request("PATCH", number_path, key, {"forward_to": ADDED_NUMBER})
    return {
        "key": key,
        "tenant_id": tenant_id,
        "statuses": [number["status"], simulation["status"], turn["status"]],
        "greeting": simulation["body"]["reply"],
        "calls": [call["id"] for call in request("GET", f"{base}/calls", key)["body"]],
        "call_id": call_id,
        "forwarded": forwarded["status"],
    }


def test_two_apps_with_two_databases_work_in_one_process(app: Flask, second_app: Flask) -> None:
    first, second = run_concurrently(
        [partial(hold_a_call, app, "Acme"), partial(hold_a_call, second_app, "Globex")]
    )

    for result in (first, second):
        assert result["statuses"] == [201, 201, 200]
        assert result["calls"] == [result["call_id"]]
    assert first["greeting"] == "Hello from Acme."
    assert second["greeting"] == "Hello from Globex."
    assert (first["forwarded"], second["forwarded"]) == (400, 200)
    for other_app, result in ((second_app, first), (app, second)):
        tenant_path = f"/api/tenants/{result['tenant_id']}"
        own_key = create_platform_key(other_app)
        assert send(other_app.test_client(), "GET", tenant_path, result["key"])["status"] == 401
        assert send(other_app.test_client(), "GET", tenant_path, own_key)["status"] == 404


def test_a_job_runs_with_the_services_of_its_app(app: Flask, second_app: Flask) -> None:
    used: list[Services] = []

    def task(*, services: Services) -> None:
        used.append(services)

    for services in (services_of(second_app), services_of(app)):
        worker.run_task(task, {}, services=services)

    assert used == [services_of(second_app), services_of(app)]
    assert used[0].database.dsn != used[1].database.dsn
    assert "messages.mail" in queue.TASKS  # one table of tasks serves both
