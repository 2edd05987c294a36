"""Transfers in simulations: they wait for an outcome, or end at once as requested."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.fakes.models import SequenceModel
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Tenant, fresh_number
from vca.conversation.llm import ToolCall

SALES = "+442079460999"


@pytest.fixture
def number(acme: Tenant, script_model: Callable[..., SequenceModel]) -> dict[str, Any]:
    """Return a number whose agent transfers the caller, and then talks."""
    script_model(["I connect you. ", ToolCall("transfer", '{"target": "sales"}')], ["Go on."])
    acme.profile(
        greeting="Hello.", tools=["transfer"], transfer_targets={"sales": {"number": SALES}}
    )
    return acme.number(fallback_number=fresh_number())


def _settle(tenant: Tenant, call_id: str, outcome: str) -> Any:
    return tenant.post(f"/simulations/{call_id}/outcome", {"transfer_outcome": outcome})


def _get_transfer_status(tenant: Tenant, call_id: str) -> str:
    status: str = tenant.get(f"/calls/{call_id}").json["transfer"]["status"]
    return status


def test_a_transfer_waits_for_its_outcome_and_rejects_turns(
    acme: Tenant, number: dict[str, Any]
) -> None:
    call_id = acme.simulate(number["did_number"])["call_id"]

    turn = acme.say(call_id, "Sales, please.")
    refused_turns = [
        acme.post(f"/simulations/{call_id}/turns", body)
        for body in ({"text": "Hey"}, {"keys": "1"})
    ]

    assert turn == {
        "status": "transferring",
        "reply": "I connect you.",
        "actions": [{"kind": "transfer", "target": "sales"}],
        "end_reason": None,
    }
    for response in refused_turns:
        assert (response.status_code, response.json["code"]) == (409, "call-not-in-progress")
    assert len(acme.get(f"/calls/{call_id}/turns").json) == 3
    assert SALES not in str(acme.get(f"/calls/{call_id}").json)


@pytest.mark.parametrize("binding", ["number", "profile only"])
def test_a_target_that_the_dial_policy_denies_cannot_be_reached(
    binding: str, acme: Tenant, number: dict[str, Any]
) -> None:
    acme.patch("/settings", {"dial_policy": {"countries": ["FR"]}})
    profile_id = acme.get("/ai-profiles").json[0]["id"]
    to = {"to": number["did_number"]} if binding == "number" else {"ai_profile_id": profile_id}
    call_id = acme.post("/simulations", to).json["call_id"]

    turn = acme.say(call_id, "Sales, please.")

    assert turn["status"] == "in_progress"
    assert turn["reply"].endswith("nobody could be reached there. What else can I do for you?")


def test_a_target_that_answers_ends_the_simulation(acme: Tenant, number: dict[str, Any]) -> None:
    call_id = acme.simulate(number["did_number"])["call_id"]
    acme.say(call_id, "Sales, please.")

    response = _settle(acme, call_id, "answers")
    repeated = _settle(acme, call_id, "answers")

    assert response.status_code == 200
    assert response.json == {
        "status": "completed",
        "reply": "",
        "actions": [],
        "end_reason": "transferred",
    }
    assert (repeated.status_code, repeated.json["code"]) == (409, "call-ended")
    assert _get_transfer_status(acme, call_id) == "completed"


@pytest.mark.parametrize("outcome", ["busy", "no_answer"])
def test_a_target_that_does_not_answer_returns_the_caller_to_the_agent(
    acme: Tenant, number: dict[str, Any], outcome: str
) -> None:
    call_id = acme.simulate(number["did_number"])["call_id"]
    acme.say(call_id, "Sales, please.")

    response = _settle(acme, call_id, outcome)
    repeated = _settle(acme, call_id, outcome)
    turn = acme.say(call_id, "And now?")

    assert (response.json["status"], response.json["actions"]) == ("in_progress", [])
    texts = [turn["text"] for turn in acme.get(f"/calls/{call_id}/turns").json]
    assert response.json["reply"] == texts[3] != ""
    assert (repeated.status_code, repeated.json["code"]) == (409, "call-not-transferring")
    assert turn["reply"] == "Go on."
    assert _get_transfer_status(acme, call_id) == outcome


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("outcome", ["answers", "busy", "no_answer"])
def test_a_requested_outcome_settles_each_transfer_at_once(
    acme: Tenant, number: dict[str, Any], outcome: str, is_streamed: bool
) -> None:
    call_id = acme.simulate(number["did_number"], transfer_outcome=outcome)["call_id"]

    headers = {"Accept": "text/event-stream"} if is_streamed else {}
    response = acme.post(
        f"/simulations/{call_id}/turns", {"text": "Sales, please."}, headers=headers
    )

    call = acme.get(f"/calls/{call_id}").json
    agent_texts = [
        turn["text"]
        for turn in acme.get(f"/calls/{call_id}/turns").json[1:]
        if turn["speaker"] == "agent"
    ]
    if is_streamed:
        assert response.text.count("event: clause\n") == len(agent_texts)
        assert all(f'"{text}"' in response.text for text in agent_texts)
        assert response.text.count("event: reply\n") == 1
    else:
        assert response.json["reply"] == " ".join(agent_texts)
        assert response.json["actions"] == [{"kind": "transfer", "target": "sales"}]
        assert response.json["status"] == call["status"]
    if outcome == "answers":
        assert (call["status"], call["end_reason"]) == ("completed", "transferred")
        assert agent_texts == ["I connect you."]
    else:
        assert (call["status"], call["transfer"]["status"]) == ("in_progress", outcome)
        assert len(agent_texts) == 2


@pytest.mark.parametrize("on_failure", ["message", "fallback"])
def test_an_outcome_follows_on_failure_of_a_transfer_by_the_api(
    acme: Tenant, number: dict[str, Any], on_failure: str
) -> None:
    call_id = acme.simulate(number["did_number"])["call_id"]
    body = {"target": "sales", "on_failure": on_failure}
    assert acme.post(f"/calls/{call_id}/transfer", body).status_code == 202

    outcome_reply = _settle(acme, call_id, "no_answer").json

    if on_failure == "message":
        assert outcome_reply["status"] == "in_progress"
        assert "message" in outcome_reply["reply"]
    else:
        assert outcome_reply["actions"] == [
            {"kind": "forward", "forward_to": number["fallback_number"]}
        ]
        assert (outcome_reply["status"], outcome_reply["end_reason"]) == (
            "completed",
            "transferred",
        )


def test_a_requested_outcome_settles_a_transfer_by_the_api(
    acme: Tenant, number: dict[str, Any]
) -> None:
    call_id = acme.simulate(number["did_number"], transfer_outcome="busy")["call_id"]

    response = acme.post(f"/calls/{call_id}/transfer", {"target": "sales"})

    assert response.status_code == 202
    assert (response.json["status"], response.json["transfer"]["status"]) == (
        "in_progress",
        "busy",
    )


def test_simultaneous_outcomes_settle_a_transfer_once(acme: Tenant, number: dict[str, Any]) -> None:
    call_id = acme.simulate(number["did_number"])["call_id"]
    acme.say(call_id, "Sales, please.")

    responses = run_concurrently([partial(_settle, acme, call_id, "busy")] * 4)

    assert {response.status_code for response in responses} <= {200, 409}
    assert len(acme.get(f"/calls/{call_id}/turns").json) == 4
    failed_events = acme.get("/events", type="call.transfer_failed").json
    assert len(failed_events) == 1


def test_a_call_that_is_not_transferring_has_no_outcome(
    acme: Tenant, globex: Tenant, number: dict[str, Any]
) -> None:
    call_id = acme.simulate(number["did_number"])["call_id"]

    in_progress = _settle(acme, call_id, "busy")
    foreign = _settle(globex, call_id, "busy")
    invalid = [
        acme.post(f"/simulations/{call_id}/outcome", body)
        for body in ({}, {"transfer_outcome": "answered"}, {"transfer_outcome": None})
    ]
    acme.post(f"/calls/{call_id}/hangup")
    ended = _settle(acme, call_id, "busy")

    assert (in_progress.status_code, in_progress.json["code"]) == (409, "call-not-transferring")
    assert foreign.status_code == 404
    assert [response.status_code for response in invalid] == [400] * 3
    assert (ended.status_code, ended.json["code"]) == (409, "call-ended")


def test_a_real_call_has_no_outcome(acme: Tenant, world: Factory, number: dict[str, Any]) -> None:
    call_id = acme.simulate(number["did_number"])["call_id"]
    acme.say(call_id, "Sales, please.")
    world.sql(acme, "UPDATE calls SET simulated = false")

    assert _settle(acme, call_id, "busy").status_code == 404
    assert _get_transfer_status(acme, call_id) == "dialling"
