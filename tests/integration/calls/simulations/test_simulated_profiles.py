"""Simulations with a profile, a version and variables of their own, and outbound simulations."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.models import SequenceModel
from tests.support.factories import Tenant, fresh_number
from vca.conversation.llm import ToolCall


@pytest.fixture
def draft(acme: Tenant) -> dict[str, Any]:
    """Return a profile with two versions that is neither the default nor bound to a number."""
    acme.profile(greeting="The default.")
    profile = acme.profile(greeting="First, {{name}}.", is_default=False)
    acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "Second, {{name}}."})
    return profile


def _simulate(tenant: Tenant, **body: Any) -> Any:
    return tenant.post("/simulations", body)


def _get_call(tenant: Tenant, simulation: dict[str, Any]) -> dict[str, Any]:
    call: dict[str, Any] = tenant.get(f"/calls/{simulation['call_id']}").json
    return call


@pytest.mark.parametrize("has_number", [True, False])
@pytest.mark.parametrize(("version", "greeting"), [(None, "Second, Jo."), (1, "First, Jo.")])
def test_a_profile_answers_that_no_number_has(
    acme: Tenant, draft: dict[str, Any], has_number: bool, version: int | None, greeting: str
) -> None:
    to = {"to": acme.number()["did_number"]} if has_number else {}

    response = _simulate(
        acme, ai_profile_id=draft["id"], version=version, variables={"name": "Jo"}, **to
    )

    assert (response.status_code, response.json["reply"]) == (201, greeting)
    call = _get_call(acme, response.json)
    assert call["ai_profile_id"] == call["route"]["ai_profile_id"] == draft["id"]
    assert call["ai_profile_version"] == (version or 2)
    assert call["route"]["rules"][-1] == {
        "rule": "profile",
        "verdict": "decided",
        "why": "the simulation was requested with this profile",
    }


def test_a_turn_is_answered_by_the_requested_version(
    acme: Tenant, draft: dict[str, Any], script_model: Callable[..., SequenceModel]
) -> None:
    acme.patch(f"/ai-profiles/{draft['id']}", {"system_prompt": "You sell {{name}}."})
    model = script_model(["Yes."], ["Yes."])

    for version in (1, 3):
        simulation = _simulate(
            acme, ai_profile_id=draft["id"], version=version, variables={"name": "pears"}
        ).json
        assert acme.say(simulation["call_id"], "Hello?")["reply"] == "Yes."

    first_system, third_system = (request.system for request in model.requests)
    assert "You sell pears." not in first_system
    assert "You sell pears." in third_system


def test_a_call_without_a_number_is_recorded_without_one(
    acme: Tenant, draft: dict[str, Any]
) -> None:
    simulation = _simulate(acme, ai_profile_id=draft["id"], **{"from": "+442079460123"}).json

    call = _get_call(acme, simulation)
    assert (call["phone_number_id"], call["called_number"]) == (None, "")
    assert (call["caller_number"], call["caller_id"]) == ("+442079460123", "shown")
    events = acme.get(f"/calls/{simulation['call_id']}/events").json
    assert [event["event_type"] for event in events] == ["RINGING", "ANSWERED"]


def test_a_profile_of_a_closed_number_does_not_answer(acme: Tenant, draft: dict[str, Any]) -> None:
    number = acme.number(mode="closed")["did_number"]

    simulation = _simulate(acme, to=number, ai_profile_id=draft["id"]).json

    assert simulation["end_reason"] == "closed"
    assert _get_call(acme, simulation)["ai_profile_id"] is None


def test_variables_override_those_of_the_tenant_in_this_call_only(
    acme: Tenant, script_model: Callable[..., SequenceModel]
) -> None:
    script_model(["Yes."])
    acme.patch("/settings", {"variables": {"name": "Acme", "town": "Leeds"}})
    acme.profile(greeting="{{name}} in {{town}}.")
    number = acme.number()["did_number"]

    first, second = (
        acme.simulate(number, variables=variables)["reply"] for variables in ({"name": "Jo"}, {})
    )

    assert (first, second) == ("Jo in Leeds.", "Acme in Leeds.")


def test_a_variable_cannot_make_a_simulation_a_replay(
    acme: Tenant, script_model: Callable[..., SequenceModel]
) -> None:
    arguments = '{"name": "Jane", "number": "555", "reason": "A tooth hurts."}'
    script_model(["Noted. ", ToolCall("take_message", arguments)])
    acme.profile(tools=["take_message"])
    number = acme.number()["did_number"]
    call_id = acme.simulate(number, variables={"replay_of": str(uuid4())})["call_id"]

    acme.say(call_id, "Note it.")

    assert len(acme.get("/messages", simulated="true").json) == 1


@pytest.mark.parametrize(
    "variables",
    [
        {"Name": "x"},
        {"name": 1},
        {"name": None},
        {"name": "x" * 501},
        {f"name{number}": "x" for number in range(51)},
    ],
)
def test_variables_have_the_limits_of_metadata(acme: Tenant, variables: dict[str, Any]) -> None:
    number = acme.number()["did_number"]

    response = _simulate(acme, to=number, variables=variables)

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"].startswith("/variables")


# --- Outbound calls -------------------------------------------------------------------------------


def test_the_person_who_is_called_answers_and_the_agent_greets(
    acme: Tenant, draft: dict[str, Any], script_model: Callable[..., SequenceModel]
) -> None:
    script_model(["Your order is ready."])
    number, callee = acme.number(ai_profile_id=draft["id"]), fresh_number()

    simulation = _simulate(
        acme,
        direction="outbound",
        to=callee,
        from_phone_number_id=number["id"],
        variables={"name": "Jo"},
    ).json
    turn = acme.say(simulation["call_id"], "Who is it?")

    assert (simulation["reply"], turn["reply"]) == ("Second, Jo.", "Your order is ready.")
    call = _get_call(acme, simulation)
    assert (call["direction"], call["simulated"], call["status"]) == (
        "outbound",
        True,
        "in_progress",
    )
    assert (call["caller_number"], call["called_number"]) == (number["did_number"], callee)
    events = acme.get(f"/calls/{simulation['call_id']}/events").json
    assert [event["event_type"] for event in events] == ["INITIATED", "ANSWERED"]


@pytest.mark.parametrize("has_profile", [True, False])
def test_an_outbound_simulation_uses_a_profile_as_an_outbound_call_does(
    acme: Tenant, draft: dict[str, Any], has_profile: bool
) -> None:
    requested = {"ai_profile_id": draft["id"], "version": 1} if has_profile else {}

    simulation = _simulate(
        acme,
        direction="outbound",
        to=fresh_number(),
        from_phone_number_id=acme.number()["id"],
        **requested,
    ).json

    assert simulation["reply"] == ("First, ." if has_profile else "The default.")


def test_a_number_that_cannot_place_calls_is_refused(acme: Tenant) -> None:
    number, inactive = acme.number(), acme.number(is_active=False)

    responses = [
        _simulate(acme, direction="outbound", to=fresh_number(), from_phone_number_id=row["id"])
        for row in (number, inactive)
    ]

    assert [response.json["code"] for response in responses] == ["number-not-usable"] * 2
    assert "no AI profile" in responses[0].json["detail"]
    assert acme.get("/calls").json == []


# --- Requests that are refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/to"}),
        ({"version": 1}, {"/to", "/ai_profile_id"}),
        ({"to": "+442079460999", "version": 1}, {"/ai_profile_id"}),
        ({"direction": "outbound"}, {"/to", "/from_phone_number_id"}),
        (
            {"direction": "outbound", "ai_profile_id": str(uuid4())},
            {"/to", "/from_phone_number_id"},
        ),
        ({"to": "+442079460999", "from_phone_number_id": str(uuid4())}, {"/from_phone_number_id"}),
        ({"to": "+442079460999", "direction": None}, {"/direction"}),
        ({"to": "+442079460999", "at": "2026-11-30T09:00:00"}, {"/at"}),
        ({"to": "+442079460999", "at": "9001-01-01T00:00:00Z"}, {"/at"}),
        ({"to": "+442079460999", "transfer_outcome": "answered"}, {"/transfer_outcome"}),
    ],
)
def test_combinations_that_make_no_call_are_refused(
    acme: Tenant, body: dict[str, Any], pointers: set[str]
) -> None:
    response = _simulate(acme, **body)

    assert response.status_code == 400
    assert {error["pointer"] for error in response.json["errors"]} == pointers


def test_a_version_that_the_profile_does_not_have_is_refused(
    acme: Tenant, draft: dict[str, Any]
) -> None:
    response = _simulate(acme, ai_profile_id=draft["id"], version=3)

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == "/version"


def test_numbers_and_profiles_of_another_tenant_do_not_exist(
    acme: Tenant, globex: Tenant, draft: dict[str, Any]
) -> None:
    foreign_profile, foreign_number = globex.profile(), globex.number()
    own_number = acme.number()
    outbound = {"direction": "outbound", "to": fresh_number()}
    called_numbers: list[dict[str, Any]] = [
        {"to": foreign_number["did_number"]},
        {"to": foreign_number["did_number"], "ai_profile_id": draft["id"]},
    ]
    ids: list[dict[str, Any]] = [
        {"ai_profile_id": foreign_profile["id"]},
        {"ai_profile_id": foreign_profile["id"], "version": 1},
        {"ai_profile_id": str(uuid4())},
        {"to": own_number["did_number"], "ai_profile_id": foreign_profile["id"]},
        {**outbound, "from_phone_number_id": foreign_number["id"]},
        {**outbound, "from_phone_number_id": str(uuid4())},
        {
            **outbound,
            "from_phone_number_id": own_number["id"],
            "ai_profile_id": foreign_profile["id"],
        },
    ]

    number_responses = [_simulate(acme, **body) for body in called_numbers]
    id_responses = [_simulate(acme, **body) for body in ids]

    assert [response.status_code for response in number_responses] == [404] * 2
    assert [response.status_code for response in id_responses] == [400] * len(ids)
    pointers = [response.json["errors"][0]["pointer"] for response in id_responses]
    assert pointers == ["/ai_profile_id"] * 4 + ["/from_phone_number_id"] * 2 + ["/ai_profile_id"]
    assert acme.get("/calls").json == globex.get("/calls").json == []
