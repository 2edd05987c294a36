"""A simulation plays what a caller of the number would get, at any moment."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.models import SequenceModel
from tests.support.factories import Factory, Tenant, fresh_number
from vca.conversation.llm import ModelError, ToolCall

# A Monday and a Sunday, in London.
MONDAY_MORNING, SUNDAY_MORNING = "2026-11-30T09:30:00+00:00", "2026-11-29T09:30:00+00:00"
WEEKDAY_HOURS: dict[str, Any] = {"weekly": {"monday": [{"from": "09:00", "to": "17:00"}]}}


@pytest.fixture
def office(acme: Tenant) -> Tenant:
    """Return a tenant in London whose agent answers on Mondays."""
    acme.patch(
        "/settings",
        {
            "time_zone": "Europe/London",
            "hours": WEEKDAY_HOURS,
            "sentences": {"closed": "We are closed.", "fallback": "Something went wrong."},
        },
    )
    acme.profile(greeting="Hello, it is {{now}}.", tools=["fallback", "take_message"])
    return acme


def _get_call(tenant: Tenant, simulation: dict[str, Any]) -> dict[str, Any]:
    call: dict[str, Any] = tenant.get(f"/calls/{simulation['call_id']}").json
    return call


def test_the_agent_answers_at_the_given_time_and_the_record_has_real_times(office: Tenant) -> None:
    number = office.number()["did_number"]

    simulation = office.simulate(number, at=MONDAY_MORNING)

    assert simulation["reply"] == "Hello, it is Monday, 30 November 2026, 09:30 (GMT)."
    assert (simulation["status"], simulation["end_reason"]) == ("in_progress", None)
    assert simulation["actions"] == []
    call = _get_call(office, simulation)
    assert call["route"]["decision"] == "agent"
    assert call["started_at"] > "2026-11-30T10"


def test_the_clock_of_the_call_goes_on_in_its_turns(
    office: Tenant, script_model: Callable[..., SequenceModel]
) -> None:
    model = script_model(["Good."], ["Fine."])
    call_id = office.simulate(office.number()["did_number"], at=MONDAY_MORNING)["call_id"]

    replies = [office.say(call_id, text)["reply"] for text in ("Hello.", "And now?")]

    assert replies == ["Good.", "Fine."]
    for request in model.requests:
        assert "The local time: Monday, 30 November 2026, 09:3" in request.system


def test_the_clock_does_not_make_a_call_exceed_its_duration(
    acme: Tenant, script_model: Callable[..., SequenceModel]
) -> None:
    script_model(["Good."])
    acme.profile(max_duration_seconds=600)
    call_id = acme.simulate(acme.number()["did_number"], at="2031-01-01T00:00:00Z")["call_id"]

    assert acme.say(call_id, "Hello.")["status"] == "in_progress"


def test_a_caller_outside_opening_hours_hears_the_closing_sentence(office: Tenant) -> None:
    number = office.number()["did_number"]

    simulation = office.simulate(number, at=SUNDAY_MORNING)

    assert simulation == {
        "call_id": simulation["call_id"],
        "status": "completed",
        "reply": "We are closed.",
        "actions": [{"kind": "hang_up", "end_reason": "closed"}],
        "end_reason": "closed",
    }
    call = _get_call(office, simulation)
    assert (call["simulated"], call["status"], call["end_reason"]) == (True, "completed", "closed")
    turn = office.post(f"/simulations/{simulation['call_id']}/turns", {"text": "Hello?"})
    assert (turn.status_code, turn.json["code"]) == (409, "call-ended")


@pytest.mark.parametrize("moment", [MONDAY_MORNING, SUNDAY_MORNING])
def test_a_closed_number_is_closed_at_any_time(office: Tenant, moment: str) -> None:
    number = office.number(mode="closed")["did_number"]

    assert office.simulate(number, at=moment)["end_reason"] == "closed"


@pytest.mark.parametrize("caller_input", [{"text": "Call me back."}, {"keys": "1"}])
def test_the_turn_after_the_request_for_a_voicemail_is_the_voicemail(
    office: Tenant, world: Factory, caller_input: dict[str, str]
) -> None:
    office.patch("/settings", {"notification_email": "office@example.com"})
    number = office.number(hours={**WEEKDAY_HOURS, "closed_action": "voicemail"})["did_number"]

    simulation = office.simulate(number, at=SUNDAY_MORNING, **{"from": "+442079460123"})
    turn = office.post(f"/simulations/{simulation['call_id']}/turns", caller_input).json

    assert (simulation["status"], simulation["reply"]) == ("in_progress", "We are closed.")
    assert simulation["actions"] == [{"kind": "take_voicemail"}]
    assert turn == {
        "status": "completed",
        "reply": "",
        "actions": [{"kind": "hang_up", "end_reason": "voicemail"}],
        "end_reason": "voicemail",
    }
    assert office.get("/messages").json == []
    [message] = office.get("/messages", simulated="true").json
    assert (message["kind"], message["reason"]) == ("voicemail", caller_input.get("text"))
    assert (message["audio"], message["caller_number"]) == (None, "+442079460123")
    job_names = world.run_jobs(office, include_scheduled=True)
    assert {"messages.mail", "recordings.fetch"}.isdisjoint(job_names)


def test_a_voicemail_streams_its_reply(office: Tenant) -> None:
    number = office.number(hours={**WEEKDAY_HOURS, "closed_action": "voicemail"})["did_number"]
    call_id = office.simulate(number, at=SUNDAY_MORNING)["call_id"]

    response = office.post(
        f"/simulations/{call_id}/turns",
        {"text": "Call me back."},
        headers={"Accept": "text/event-stream"},
    )

    assert response.text.startswith("event: reply\n")
    assert '"end_reason":"voicemail"' in response.text


@pytest.mark.parametrize("mode", ["forward", "agent"])
def test_a_forward_is_recorded_and_not_dialled(office: Tenant, mode: str) -> None:
    target = fresh_number()
    number = office.number(
        mode=mode, forward_to=target, hours={**WEEKDAY_HOURS, "closed_action": "forward"}
    )

    simulation = office.simulate(number["did_number"], at=SUNDAY_MORNING)

    assert simulation["actions"] == [{"kind": "forward", "forward_to": target}]
    assert (simulation["status"], simulation["end_reason"]) == ("completed", "transferred")
    assert _get_call(office, simulation)["route"]["forward_to"] == target


def test_a_forward_that_the_dial_policy_denies_plays_the_fallback_sentence(office: Tenant) -> None:
    number = office.number(mode="forward", forward_to=fresh_number())
    office.patch("/settings", {"dial_policy": {"countries": ["FR"]}})

    simulation = office.simulate(number["did_number"])

    assert simulation["reply"] == "Something went wrong."
    assert [action["kind"] for action in simulation["actions"]] == ["hang_up"]


def test_a_number_without_a_profile_plays_the_fallback_sentence(acme: Tenant) -> None:
    acme.patch("/settings", {"sentences": {"fallback": "Something went wrong."}})

    simulation = acme.simulate(acme.number()["did_number"])

    assert simulation["reply"] == "Something went wrong."
    assert simulation["actions"] == [{"kind": "hang_up", "end_reason": "declined"}]
    assert (simulation["status"], simulation["end_reason"]) == ("failed", "declined")


@pytest.mark.parametrize("has_fallback", [True, False])
def test_a_failing_model_forwards_the_caller_to_the_fallback_number(
    office: Tenant, script_model: Callable[..., SequenceModel], has_fallback: bool
) -> None:
    script_model([ModelError("unreachable", failure="unavailable")])
    fallback_number = fresh_number() if has_fallback else None
    number = office.number(fallback_number=fallback_number)["did_number"]
    call_id = office.simulate(number, at=MONDAY_MORNING)["call_id"]

    turn = office.say(call_id, "Hello?")

    forward = [{"kind": "forward", "forward_to": fallback_number}] if has_fallback else []
    assert turn["actions"] == [{"kind": "hang_up", "end_reason": "model_error"}, *forward]
    assert (turn["reply"], turn["end_reason"]) == ("Something went wrong.", "model_error")


def test_the_fallback_tool_ends_the_simulation(
    office: Tenant, script_model: Callable[..., SequenceModel]
) -> None:
    script_model(["I connect you. ", ToolCall("fallback", "{}")])
    number = office.number(fallback_number=fresh_number())["did_number"]
    call_id = office.simulate(number, at=MONDAY_MORNING)["call_id"]

    turn = office.say(call_id, "A person, please.")

    assert turn["actions"] == [{"kind": "to_fallback"}]
    assert (turn["status"], turn["end_reason"]) == ("completed", "transferred")


def test_actions_are_those_of_the_turns_and_of_one_request_only(
    office: Tenant, script_model: Callable[..., SequenceModel]
) -> None:
    arguments = '{"name": "Jane", "number": "555 0123", "reason": "A tooth hurts."}'
    script_model(["I have noted it. ", ToolCall("take_message", arguments)], ["Yes."])
    call_id = office.simulate(office.number()["did_number"], at=MONDAY_MORNING)["call_id"]

    first_turn, second_turn = (office.say(call_id, text) for text in ("Note it.", "Really?"))
    silent_turn = office.say(call_id, "   ")

    message = {"name": "Jane", "number": "555 0123", "reason": "A tooth hurts."}
    assert first_turn["actions"] == [{"kind": "take_message", **message}]
    turns = office.get(f"/calls/{call_id}/turns").json
    assert turns[2]["actions"] == first_turn["actions"]
    assert second_turn["actions"] == silent_turn["actions"] == []


def test_keys_are_a_turn_of_the_caller(
    office: Tenant, script_model: Callable[..., SequenceModel]
) -> None:
    script_model(["You chose sales."])
    call_id = office.simulate(office.number()["did_number"], at=MONDAY_MORNING)["call_id"]

    response = office.post(f"/simulations/{call_id}/turns", {"keys": "1#"})

    assert (response.status_code, response.json["reply"]) == (200, "You chose sales.")
    assert office.get(f"/calls/{call_id}/turns").json[1]["text"] == "(pressed 1 #)"


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/text", "/keys"}),
        ({"text": "Hello.", "keys": "1"}, {"/text", "/keys"}),
        ({"keys": "A"}, {"/keys"}),
        ({"keys": ""}, {"/keys"}),
        ({"keys": "1" * 33}, {"/keys"}),
        ({"keys": 1}, {"/keys"}),
    ],
)
def test_a_turn_has_a_text_or_keys(
    office: Tenant, body: dict[str, Any], pointers: set[str]
) -> None:
    call_id = office.simulate(office.number()["did_number"], at=MONDAY_MORNING)["call_id"]

    response = office.post(f"/simulations/{call_id}/turns", body)

    assert response.status_code == 400
    assert {error["pointer"] for error in response.json["errors"]} == pointers
    assert len(office.get(f"/calls/{call_id}/turns").json) == 1
