"""A client that openapi-python-client generates reads and writes nullable fields."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support import openapi_tools, rate_limits
from tests.support.accounts import create_account
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.processes import WebServer, process_environment, run_gunicorn
from vca.kit import json
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

PROGRAM = Path(__file__).with_name("generated_client.py")
HOURS = {"weekly": {"monday": [{"from": "09:00", "to": "17:00"}]}, "closed_action": "voicemail"}
HOLIDAYS_ONLY = {"weekly": None, "holidays": [{"date": "2026-12-25", "open": []}]}
# The generated code is not formatted, because no person reads it. The generator does not know that
# a response of type application/zip is binary.
GENERATOR_CONFIG = """
post_hooks: []
content_type_overrides:
  application/zip: application/octet-stream
"""


@pytest.fixture
def client_folder(document_path: Path, tmp_path: Path) -> Path:
    """Return the folder of the generated package `vca_client`; fail if the generator warns."""
    config, folder = tmp_path / "config.yml", tmp_path / "generated"
    config.write_text(GENERATOR_CONFIG)
    result = openapi_tools.run_python(
        [
            *("-m", "openapi_python_client", "generate", "--fail-on-warning"),
            *("--path", str(document_path), "--config", str(config)),
            *("--meta", "none", "--output-path", str(folder / "vca_client")),
        ]
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[WebServer]:
    """Run a gunicorn on the test's database."""
    environ = process_environment(
        settings,
        **rate_limits.HIGH_RATE_LIMITS,
    )
    with run_gunicorn(environ, tmp_path / "server.log") as web:
        yield web


@pytest.fixture
def ported_number(acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter) -> dict[str, Any]:
    """Return a number with hours and with a previous carrier."""
    acme.profile(greeting="Acme here.", transfer_targets={"sales": {"number": fresh_number()}})
    number = acme.number(provider_type="fake", hours=HOLIDAYS_ONLY)
    world.run_jobs(acme)
    response = acme.patch(f"/phone-numbers/{number['id']}", create_account(acme).number_fields)
    assert response.status_code == 200, response.text
    ported: dict[str, Any] = response.json
    return ported


@pytest.fixture
def plain_number(acme: Tenant, ported_number: dict[str, Any]) -> dict[str, Any]:
    """Return a number without hours and without a previous carrier."""
    return acme.number()


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """Return the carrier of `plain_number`."""
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def calls(
    acme: Tenant, plain_number: dict[str, Any], carrier_client: CarrierClient
) -> dict[str, str]:
    """Return the ids of a call that is being transferred and of one that is not."""
    ids = {}
    for kind in ("transferring", "talking"):
        carrier_client.ring(plain_number["did_number"], f"{kind}-{uuid4().hex}")
        ids[kind] = str(acme.get("/calls").json[0]["id"])
    response = acme.post(f"/calls/{ids['transferring']}/transfer", {"target": "sales"})
    assert response.status_code == 202, response.text
    return ids


@pytest.fixture
def results(
    acme: Tenant,
    ported_number: dict[str, Any],
    plain_number: dict[str, Any],
    calls: dict[str, str],
    server: WebServer,
    client_folder: Path,
) -> dict[str, Any]:
    """Return what the generated client returned for each request."""
    parameters = {
        "base_url": f"http://127.0.0.1:{server.port}",
        "key": acme.key,
        "tenant_id": acme.id,
        "number_id": plain_number["id"],
        "new_numbers": [fresh_number(), fresh_number()],
        "hours": HOURS,
        "holidays_only": HOLIDAYS_ONLY,
    }
    result = openapi_tools.run_python(
        [str(PROGRAM)],
        environ={"PYTHONPATH": str(client_folder)},
        stdin=json.dumps(parameters).decode(),
    )
    assert result.returncode == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


NULL = {"class": "NoneType", "json": None}
ABSENT = {"class": "Unset", "json": None}
OPENING = {"class": "Hours", "json": HOURS}
WEEK = {"class": "Week", "json": HOURS["weekly"]}


def test_a_generated_client_reads_and_writes_numbers_calls_and_settings(
    results: dict[str, Any],
    ported_number: dict[str, Any],
    plain_number: dict[str, Any],
    calls: dict[str, str],
) -> None:
    for numbers in (results["numbers"], results["number"]):
        assert numbers.keys() == {ported_number["id"], plain_number["id"]}
        assert numbers[plain_number["id"]] == {"hours": NULL, "previous_carrier": NULL}
        ported = numbers[ported_number["id"]]
        assert ported["hours"] == {"class": "Hours", "json": ported_number["hours"]}
        assert ported["weekly"] == ABSENT
        assert ported["previous_carrier"]["class"] == "PreviousCarrier"
        assert ported["previous_carrier"]["json"]["provider_type"] == "fake"
    for result_calls in (results["calls"], results["call"]):
        assert result_calls.keys() == set(calls.values())
        assert result_calls[calls["talking"]] == {"transfer": NULL}
        transfer = result_calls[calls["transferring"]]["transfer"]
        assert transfer["class"] == "TransferState"
        assert transfer["json"]["target"] == "sales"
    opening = {"hours": OPENING, "previous_carrier": NULL, "weekly": WEEK}
    assert results["added with hours"] == opening
    assert results["added without hours"] == {"hours": NULL, "previous_carrier": NULL}
    assert results["changed to hours"] == opening
    # A change of hours leaves `closed_action` as it is, and null removes `weekly`.
    holidays = {**ported_number["hours"], "closed_action": HOURS["closed_action"]}
    assert results["changed to holidays"]["hours"] == {"class": "Hours", "json": holidays}
    assert results["changed to no hours"] == {"hours": NULL, "previous_carrier": NULL}
    assert results["settings"] == {"hours": NULL}
    assert results["settings with hours"] == {"hours": OPENING}
    assert results["settings without hours"] == {"hours": NULL}
