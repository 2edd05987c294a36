"""Every caller whom VCA accepts can be exported and erased, in every spelling of the number."""

import io
import zipfile
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import use_model
from tests.support import erasure_fixture
from tests.support.carrier_client import CarrierClient
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant
from tests.support.services import app_services
from vca.kit import json
from vca.tenant.privacy import re_erasure

# Numbers that libphonenumber does not consider valid, or cannot parse.
UNUSUAL = ["+19245550123", "+85245450000", "+5215512345678", "+2101234567", "+99912345678"]
# Two spellings of one mobile number, as networks deliver them.
TWINS = [
    ("+5215512345678", "+525512345678"),
    ("+525512345678", "+5215512345678"),
    ("+5491123456789", "+541123456789"),
    ("+541123456789", "+5491123456789"),
    ("+5511987654321", "+551187654321"),
    ("+551187654321", "+5511987654321"),
]
Caller = Callable[[str], str]


@pytest.fixture
def call_from(acme: Tenant, world: Factory, carrier_client: CarrierClient) -> Caller:
    """Return a function that makes a call in which the caller leaves a message."""
    to = erasure_fixture.create_numbers(acme)[0]

    def make_call(caller: str) -> str:
        name = f"{acme.id[:8]}-{uuid4().hex[:8]}"
        arguments = {"name": "Jane", "number": caller[1:], "reason": "A toothache."}
        use_model(
            SequenceModel(
                ["Noted.", erasure_fixture.tool_call("take_message", **arguments)],
                erasure_fixture.NOTE_CALL_STEPS,
            )
        )
        state = carrier_client.ring(to, name, caller)["state"]
        state = carrier_client.say(name, state, "My tooth hurts.")["state"]
        carrier_client.send_status(name, "completed", state=state)
        world.run_jobs(acme)
        [call] = [call for call in acme.get("/calls").json if call["provider_call_id"] == name]
        assert (call["caller_number"], call["caller_id"]) == (caller, "shown")
        call_id: str = call["id"]
        return call_id

    return make_call


def _erase(tenant: Tenant, world: Factory, number: str) -> dict[str, Any]:
    response = tenant.post("/privacy/erase", {"number": number})
    assert response.status_code == 202, response.text
    world.run_jobs(tenant)
    erasure: dict[str, Any] = tenant.api.get(response.headers["Location"]).json
    assert erasure["status"] == "done"
    return erasure


def _export(tenant: Tenant, world: Factory, number: str) -> dict[str, Any]:
    response = tenant.post("/privacy/export", {"number": number})
    assert response.status_code == 202, response.text
    world.run_jobs(tenant)
    url = response.headers["Location"]
    with zipfile.ZipFile(io.BytesIO(tenant.api.get(f"{url}/file").data)) as archive:
        names = archive.namelist()
        messages = json.loads(archive.read("messages.json"))
    holds: dict[str, Any] = tenant.api.get(url).json["holds"]
    return {**holds, "call_files": sorted(names), "numbers": [m["caller_number"] for m in messages]}


@pytest.mark.parametrize("number", UNUSUAL)
def test_an_unusual_caller_is_exported_and_erased(
    acme: Tenant,
    world: Factory,
    call_from: Caller,
    db_snapshot: SnapshotChecker,
    number: str,
) -> None:
    call_id = call_from(number)

    exported = _export(acme, world, number)
    erasure = _erase(acme, world, number)

    assert (exported["calls"], exported["messages"]) == (1, 1)
    assert f"calls/{call_id}.json" in exported["call_files"]
    assert (erasure["removed"]["calls"], erasure["removed"]["messages"]) == (1, 1)
    assert acme.get(f"/calls/{call_id}").json["caller_number"] is None
    assert not [text for text in erasure_fixture.dump_rows(db_snapshot, acme) if number[1:] in text]


@pytest.mark.parametrize(("number", "spelling"), TWINS)
def test_both_spellings_of_a_number_are_one_person(
    acme: Tenant, world: Factory, call_from: Caller, number: str, spelling: str
) -> None:
    call_ids = [call_from(number), call_from(spelling)]

    listed_ids = [call["id"] for call in acme.get("/calls", caller_number=number).json]
    exported = _export(acme, world, number)
    erasure = _erase(acme, world, number)

    assert listed_ids == call_ids[::-1]
    assert (exported["calls"], exported["messages"]) == (2, 2)
    assert sorted(exported["numbers"]) == sorted([number, spelling])
    assert (erasure["removed"]["calls"], erasure["removed"]["messages"]) == (2, 2)
    assert [call["caller_number"] for call in acme.get("/calls").json] == [None, None]
    assert acme.get("/messages").json == []


def test_an_export_of_one_spelling_is_deleted_by_an_erasure_of_the_other(
    acme: Tenant, world: Factory, call_from: Caller
) -> None:
    call_from("+5215512345678")
    response = acme.post("/privacy/export", {"number": "+5215512345678"})
    world.run_jobs(acme)

    _erase(acme, world, "+525512345678")

    assert acme.api.get(response.headers["Location"]).json["status"] == "expired"


@pytest.mark.parametrize(
    ("erased", "restored"),
    [("+5215512345678", "+525512345678"), ("+19245550123", "+19245550123")],
)
def test_an_erasure_is_repeated_for_a_number_in_another_spelling(
    acme: Tenant, world: Factory, call_from: Caller, erased: str, restored: str
) -> None:
    call_id = call_from(restored)
    erasure = _erase(acme, world, erased)
    started_at = acme.get(f"/calls/{call_id}").json["started_at"]
    # A restored backup brings the number back.
    world.sql(acme, f"UPDATE calls SET caller_number = '{restored}' WHERE id = '{call_id}'")
    assert started_at < erasure["created_at"]

    repeated = re_erasure.reapply_erasures(acme.ref, services=app_services())

    assert erasure["id"] in map(str, repeated)
    assert acme.get(f"/calls/{call_id}").json["caller_number"] is None


@pytest.mark.parametrize("other", ["+551131234567", "+5511951234567", "+525512345679"])
def test_other_peoples_calls_stay(
    acme: Tenant, world: Factory, call_from: Caller, other: str
) -> None:
    call_id = call_from(other)

    for number in ("+5511931234567", "+551151234567", "+5215512345678"):
        assert _erase(acme, world, number)["removed"].get("calls", 0) == 0

    assert acme.get(f"/calls/{call_id}").json["caller_number"] == other


def test_a_tenants_own_number_is_not_erased_in_its_other_spelling(
    acme: Tenant, platform: Platform
) -> None:
    number = "+5215598765432"
    body = {"did_number": number}
    assert platform.api.post(acme.url("/phone-numbers"), body).status_code == 201

    for spelling in (number, "+525598765432"):
        response = acme.post("/privacy/erase", {"number": spelling})
        assert (response.status_code, response.json["code"]) == (409, "own-number")


@pytest.mark.parametrize("number", UNUSUAL)
def test_simulations_and_explanations_accept_every_caller(acme: Tenant, number: str) -> None:
    to = erasure_fixture.create_numbers(acme)[0]

    simulation = acme.simulate(to, **{"from": number})
    explanation = acme.post("/routing/explain", {"to": to, "from": number})

    assert acme.get(f"/calls/{simulation['call_id']}").json["caller_number"] == number
    assert explanation.status_code == 200
    calls = acme.get("/calls", caller_number=number).json
    assert [call["id"] for call in calls] == [simulation["call_id"]]
