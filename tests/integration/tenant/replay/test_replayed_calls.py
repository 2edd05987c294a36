"""Tests of replays: a finished call's utterances are repeated to another profile or version."""

from typing import Any

import pytest

from tests.integration.tenant.replay.conftest import (
    UTTERANCES,
    create_replay,
    install_model,
    post_replay,
    reply_from_prompt,
    turn_texts,
)
from tests.support.factories import Factory, Tenant
from vca.conversation.llm import ToolCall
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

# --- Comparison of both calls ---


def test_a_replay_returns_both_calls_turn_by_turn(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    replay = create_replay(acme, call_id, other_profile)

    assert [turn["caller"] for turn in replay["turns"]] == list(UTTERANCES)
    assert [turn["sequence"] for turn in replay["turns"]] == [2, 4, 6]
    assert turn_texts(replay, "original") == ["One appointment.", "One nine.", "One you."]
    assert turn_texts(replay, "replay") == ["Two appointment.", "Two nine.", "Two you."]
    assert (replay["complete"], replay["stopped_early"]) == (True, None)
    assert replay["original"]["greeting"] == "Acme, one."
    assert replay["replay"]["greeting"] == "Acme, two."
    assert replay["original"]["end_reason"] == replay["replay"]["end_reason"] == "api_hangup"
    for side in ("original", "replay"):
        assert replay[side]["tokens"] == {"input": 30, "output": 6}
        assert set(replay[side]["latency"]["model"]) == {"p50_ms", "p95_ms", "max_ms"}
        for turn in replay["turns"]:
            assert turn[side]["tokens"] == {"input": 10, "output": 2}
            assert set(turn[side]["latency_ms"]) == {
                "model",
                "model_first_token",
                "database",
                "total",
            }


def test_a_replay_is_stored_as_a_simulated_call_with_its_origin(
    acme: Tenant, call_id: str, other_profile: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    before = acme.get(f"/calls/{call_id}").json

    replay = create_replay(acme, call_id, other_profile)

    assert acme.get(f"/calls/{call_id}").json == before
    replay_call = acme.get(f"/calls/{replay['replay_call_id']}").json
    assert replay_call["simulated"] is True
    assert replay_call["metadata"] == {"replay_of": call_id}
    assert (replay_call["status"], replay_call["end_reason"]) == ("completed", "api_hangup")
    assert (replay_call["caller_number"], replay_call["called_number"]) == (
        "+14155550123",
        before["called_number"],
    )
    assert (replay_call["provider_type"], replay_call["direction"]) == ("fake", "inbound")
    assert replay_call["ai_profile_id"] == other_profile["id"]
    [rule] = replay_call["route"]["rules"]
    assert rule == {
        "rule": "profile",
        "verdict": "decided",
        "why": "the replay was requested with this profile",
    }
    assert replay_call["tokens"] == 36
    assert [operation for operation, _ in carrier.operations] == ["on_inbound_call"]


def test_a_replay_uses_the_given_version_or_the_current_one(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    acme.patch(f"/ai-profiles/{other_profile['id']}", {"system_prompt": "Say Three"})

    current = create_replay(acme, call_id, other_profile)
    first_version = create_replay(acme, call_id, other_profile, version=1)

    assert turn_texts(current, "replay")[0] == "Three appointment."
    assert turn_texts(first_version, "replay")[0] == "Two appointment."
    assert (
        current["replay"]["ai_profile_version"],
        first_version["replay"]["ai_profile_version"],
    ) == (2, 1)


def test_a_version_of_a_deleted_profile_can_be_replayed(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    assert acme.delete(f"/ai-profiles/{other_profile['id']}").status_code == 204

    assert (
        turn_texts(create_replay(acme, call_id, other_profile, version=1), "replay")[0]
        == "Two appointment."
    )
    without_version = post_replay(acme, call_id, ai_profile_id=other_profile["id"])
    assert without_version.json["errors"][0]["pointer"] == "/ai_profile_id"


def test_the_prompt_of_a_replay_has_the_variables_of_the_call(
    acme: Tenant, world: Factory, call_id: str, other_profile: dict[str, Any]
) -> None:
    acme.patch(
        f"/ai-profiles/{other_profile['id']}", {"system_prompt": "For {{order}} {{caller_number}}."}
    )
    world.sql(acme, """UPDATE calls SET call_metadata = '{"order": "seven"}'""")
    model = install_model(reply_from_prompt)

    replay = create_replay(acme, call_id, other_profile)

    assert "For seven +14155550123." in model.requests[0].system
    replay_call = acme.get(f"/calls/{replay['replay_call_id']}").json
    assert replay_call["metadata"] == {"order": "seven", "replay_of": call_id}


def test_a_replay_has_the_clock_and_the_variables_of_its_request(
    acme: Tenant, world: Factory, call_id: str, other_profile: dict[str, Any]
) -> None:
    acme.patch(f"/ai-profiles/{other_profile['id']}", {"system_prompt": "{{order}}/{{name}}."})
    world.sql(acme, """UPDATE calls SET call_metadata = '{"order": "seven", "name": "Jo"}'""")
    model = install_model(reply_from_prompt)

    create_replay(
        acme, call_id, other_profile, at="2031-05-01T08:00:00Z", variables={"name": "Joe"}
    )

    assert "seven/Joe." in model.requests[0].system
    assert "The local time: Thursday, 01 May 2031, 08:0" in model.requests[0].system


@pytest.mark.parametrize(
    ("outcome", "end_reason", "stopped_early"),
    [("answers", "transferred", "call_ended"), ("busy", "api_hangup", None)],
)
def test_the_transfers_of_a_replay_end_as_requested(
    acme: Tenant,
    call_id: str,
    other_profile: dict[str, Any],
    outcome: str,
    end_reason: str,
    stopped_early: str | None,
) -> None:
    install_model(lambda _: ("A moment.", ToolCall("transfer", '{"target": "front desk"}')))

    replay = create_replay(acme, call_id, other_profile, transfer_outcome=outcome)

    assert replay["turns"][0]["replay"]["actions"] == [{"kind": "transfer", "target": "front desk"}]
    assert (replay["replay"]["end_reason"], replay["stopped_early"]) == (end_reason, stopped_early)


def test_a_replay_is_not_recorded(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    acme.patch(f"/ai-profiles/{other_profile['id']}", {"recording": True})

    replay = create_replay(acme, call_id, other_profile)

    replay_call = acme.get(f"/calls/{replay['replay_call_id']}").json
    assert replay_call["recording"] == {"status": "none"}
    assert replay["replay"]["greeting"] == "This call is recorded. Acme, two."


# --- Actions of the agent ---


def test_after_the_agent_ends_the_call_later_turns_have_no_reply(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    install_model(lambda _: ("Goodbye.", ToolCall("end_call", "{}")))

    replay = create_replay(acme, call_id, other_profile)

    assert turn_texts(replay, "replay") == ["Goodbye.", None, None]
    assert replay["turns"][0]["replay"]["actions"] == [
        {"kind": "hang_up", "end_reason": "agent_hangup"}
    ]
    assert (replay["complete"], replay["stopped_early"]) == (True, "call_ended")
    assert replay["replay"]["end_reason"] == "agent_hangup"
    assert len(acme.get(f"/calls/{replay['replay_call_id']}/turns").json) == 3


def test_a_transfer_in_a_replay_dials_no_number_and_is_not_answered(
    acme: Tenant,
    world: Factory,
    call_id: str,
    other_profile: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    transfer = ToolCall("transfer", json.dumps({"target": "front desk"}).decode())
    install_model(
        lambda request: ("One moment.", transfer) if len(request.messages) == 2 else ("Yes.",)
    )

    replay = create_replay(acme, call_id, other_profile)

    first_turn, *later_turns = replay["turns"]
    assert first_turn["replay"]["text"].startswith("One moment. ")
    assert first_turn["replay"]["actions"] == [{"kind": "transfer", "target": "front desk"}]
    assert [turn["replay"]["text"] for turn in later_turns] == ["Yes.", "Yes."]
    assert [operation for operation, _ in carrier.operations] == ["on_inbound_call"]
    replay_call = acme.get(f"/calls/{replay['replay_call_id']}").json
    assert replay_call["transfer"]["status"] == "no_answer"
    assert set(replay_call["transfer"]) == {"target", "status", "on_failure", "started_at"}
    assert "+442079460123" not in acme.get(f"/calls/{replay['replay_call_id']}").text


def test_a_replay_returns_a_message_action_and_stores_no_message(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    take_message = ToolCall(
        "take_message", '{"name": "Jane", "number": null, "reason": "Call back."}'
    )
    install_model(lambda _: ("I have noted it.", take_message))

    replay = create_replay(acme, call_id, other_profile)

    [action] = replay["turns"][0]["replay"]["actions"]
    assert (action["kind"], action["name"]) == ("take_message", "Jane")
    assert acme.get("/messages").json == []


def test_a_simulated_call_stores_its_message(acme: Tenant, other_profile: dict[str, Any]) -> None:
    take_message = ToolCall(
        "take_message", '{"name": "Jane", "number": null, "reason": "Call back."}'
    )
    install_model(lambda _: ("I have noted it.", take_message))
    number = acme.number(ai_profile_id=other_profile["id"])["did_number"]

    acme.say(acme.simulate(number)["call_id"], "Tell them to call back.")

    messages = acme.get("/messages", simulated="true").json
    assert [(message["name"], message["simulated"]) for message in messages] == [("Jane", True)]
