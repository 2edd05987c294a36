"""What an agent knows of the opening hours: in its greeting, its prompt, and outbound calls."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.fakes.models import SequenceModel
from tests.support.carrier_client import BASE_PATH, CarrierClient, spoken_text
from tests.support.factories import Factory, Tenant, fresh_number
from vca.conversation.types import OpeningHours
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.calls.turns import conversation_inputs

ScriptModel = Callable[..., SequenceModel]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WHOLE_DAY = [{"from": "00:00", "to": "24:00"}]
# Together with the night before they cover the whole week, so an agent answers at any time.
EARLY_AND_LATE = [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "24:00"}]
TENANT_HOURS = {
    "weekly": dict.fromkeys(DAYS, EARLY_AND_LATE),
    "holidays": [{"date": "2020-12-25", "name": "Long ago"}],
}
NUMBER_HOURS = {"weekly": dict.fromkeys(DAYS, WHOLE_DAY)}
TENANT_TEXT = "Täglich: 00:00 bis 12:00 Uhr und 12:00 bis 24:00 Uhr."
NUMBER_TEXT = "Täglich: rund um die Uhr geöffnet."


@pytest.fixture
def german_tenant(acme: Tenant) -> Tenant:
    """Return acme with hours, and a German profile that says them in its greeting."""
    acme.patch("/settings", {"time_zone": "Europe/Berlin", "hours": TENANT_HOURS})
    acme.profile(language="de-DE", greeting="Hallo {{name|Sie}}. {{hours}}")
    return acme


def say_hello(carrier_client: CarrierClient, number: dict[str, Any]) -> str:
    """Ring the number, say something, and return the greeting."""
    response = carrier_client.ring(number["did_number"], "call-1")
    carrier_client.say("call-1", response["state"], "Hallo?")
    return spoken_text(response)


def test_an_agent_knows_the_tenants_hours(
    carrier_client: CarrierClient, german_tenant: Tenant, script_model: ScriptModel
) -> None:
    model = script_model(["Ja."])

    greeting = say_hello(carrier_client, german_tenant.number())

    assert greeting == f"Hallo Sie. {TENANT_TEXT}"
    [request] = model.requests
    assert (
        f"\n\nOpening hours (time zone: Mitteleuropäische Zeit): {TENANT_TEXT}\n\n"
        in request.system
    )
    assert request.system.endswith("The business at this time: Jetzt geöffnet.")


def test_the_numbers_own_hours_precede_the_tenants(
    carrier_client: CarrierClient, german_tenant: Tenant, script_model: ScriptModel
) -> None:
    model = script_model(["Ja."])

    greeting = say_hello(carrier_client, german_tenant.number(hours=NUMBER_HOURS))

    assert greeting == f"Hallo Sie. {NUMBER_TEXT}"
    assert NUMBER_TEXT in model.requests[0].system
    assert TENANT_TEXT not in model.requests[0].system


def test_the_tenants_own_variable_precedes_the_hours(
    carrier_client: CarrierClient, german_tenant: Tenant, script_model: ScriptModel
) -> None:
    german_tenant.patch("/settings", {"variables": {"hours": "Immer."}})
    model = script_model(["Ja."])

    greeting = say_hello(carrier_client, german_tenant.number())

    assert greeting == "Hallo Sie. Immer."
    assert "Opening hours" not in model.requests[0].system
    assert "Jetzt geöffnet" not in model.requests[0].system


@pytest.mark.parametrize("hours", [None, {"closed_action": "voicemail"}])
def test_without_hours_the_prompt_does_not_mention_them(
    carrier_client: CarrierClient,
    acme: Tenant,
    script_model: ScriptModel,
    hours: dict[str, Any] | None,
) -> None:
    acme.patch("/settings", {"hours": hours})
    acme.profile(greeting="Open {{hours|at any time}}.")
    model = script_model(["Yes."])

    greeting = say_hello(carrier_client, acme.number())

    assert greeting == "Open at any time."
    assert "Opening hours" not in model.requests[0].system
    assert "at this time" not in model.requests[0].system


def test_the_agent_of_an_outbound_call_knows_the_hours(
    world: Factory,
    german_tenant: Tenant,
    script_model: ScriptModel,
    carrier_client: CarrierClient,
    real_carrier: FakeTelephonyAdapter,
) -> None:
    model = script_model(["Ja."])
    number = german_tenant.number(hours=NUMBER_HOURS)
    german_tenant.post("/calls", {"to": fresh_number(), "from_phone_number_id": number["id"]})
    world.run_jobs(german_tenant)
    [state] = [
        arguments["state"]
        for operation, arguments in real_carrier.operations
        if operation == "place_call"
    ]

    response = carrier_client.send(
        real_carrier.signed_request("answered", BASE_PATH, call_id="placed-1", state=state)
    ).json
    carrier_client.say("placed-1", response["state"], "Hallo?")

    assert spoken_text(response) == f"Hallo Sie. {NUMBER_TEXT}"
    assert f": {NUMBER_TEXT}\n\n" in model.requests[0].system


# --- Stored hours as facts of the call -----------------------------------------------------------

OFFICE_HOURS = """{"weekly": {"monday": [{"from": "13:00", "to": "17:00"},
    {"from": "09:00", "to": "12:00"}], "friday": [{"from": "22:00", "to": "04:00"}]},
    "holidays": [{"date": "2026-12-26"}, {"date": "2026-12-25", "name": "Christmas"},
    {"date": "2026-11-29"}, {"date": "2028-01-01"}]}"""


def hours_at(moment: str) -> OpeningHours:
    hours = conversation_inputs.to_opening_hours(
        OFFICE_HOURS, time_zone="Europe/Berlin", moment=datetime.fromisoformat(moment)
    )
    assert hours is not None
    return hours


def test_stored_hours_become_plain_values_at_a_moment() -> None:
    sunday = hours_at("2026-11-29T12:00:00+00:00")
    monday = hours_at("2026-11-30T08:00:30+00:00")

    assert sunday.schedule.weekly is not None
    assert sunday.schedule.weekly[0] == ((540, 720), (780, 1020))
    assert sunday.schedule.weekly[4] == ((1320, 1680),)
    assert [str(day.date) for day in sunday.schedule.holidays] == [
        "2026-11-29",
        "2026-12-25",
        "2026-12-26",
    ]
    assert [str(day.date) for day in monday.schedule.holidays] == ["2026-12-25", "2026-12-26"]
    assert sunday.opens_at is not None
    assert (sunday.is_open, sunday.opens_at.isoformat()) == (False, "2026-11-30T09:00:00+01:00")
    assert (monday.is_open, monday.opens_at) == (True, None)
