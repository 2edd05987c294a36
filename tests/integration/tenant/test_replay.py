"""Tests of replays: a finished call's utterances are repeated to another profile or version."""

from collections.abc import Callable, Generator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.support.api import ApiResponse
from tests.support.factories import Factory, Tenant
from vca.conversation.llm import ModelClient, ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.conversation.types import Tokens
from vca.kit import deadline, json
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.calls.core import call_services
from vca.tenant.calls.simulation import replay as replay_service
from vca.tenant.calls.simulation import stream_limit

UTTERANCES = ("I need an appointment.", "Tomorrow at nine.", "Thank you.")
ReplyFunction = Callable[[ModelRequest], tuple[str | ToolCall, ...]]


class FunctionModel(ModelClient):
    """A model whose replies a function returns; each reply costs 10 input and 2 output tokens."""

    deterministic: ClassVar[bool] = True

    def __init__(self, make_reply: ReplyFunction) -> None:
        self.make_reply = make_reply
        self.requests: list[ModelRequest] = []

    def stream(self, request: ModelRequest) -> Generator[str | ToolCall, None, Tokens]:
        self.requests.append(request)
        yield from self.make_reply(request)
        return Tokens(10, 2)


def _reply_from_prompt(request: ModelRequest) -> tuple[str | ToolCall, ...]:
    """Return the last words of the system prompt and of the caller's utterance."""
    last_word = request.messages[-1].text.removesuffix(".").split()[-1]
    return (f"{request.profile.system_prompt.split()[-1]} {last_word}.",)


def _install_model(make_reply: ReplyFunction) -> FunctionModel:
    model = FunctionModel(make_reply)
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(model))
    )
    return model


@pytest.fixture
def other_profile(acme: Tenant) -> dict[str, Any]:
    """Create two profiles of Acme and return the second."""
    acme.profile(name="one", system_prompt="Say One", greeting="Acme, one.")
    return acme.profile(
        name="two",
        system_prompt="Say Two",
        greeting="Acme, two.",
        tools=["end_call", "transfer", "take_message", "fallback"],
        transfer_targets={"front desk": {"number": "+442079460123", "description": "People."}},
    )


@pytest.fixture
def call_id(app: Flask, acme: Tenant, other_profile: dict[str, Any]) -> str:
    """Return the id of a finished call of Acme with the first profile."""
    _install_model(_reply_from_prompt)
    call_id: str = acme.simulate(acme.number()["did_number"], **{"from": "+14155550123"})["call_id"]
    for utterance in UTTERANCES:
        acme.say(call_id, utterance)
    acme.post(f"/calls/{call_id}/hangup")
    return call_id


def _post_replay(tenant: Tenant, call_id: str, **body: Any) -> ApiResponse:
    return tenant.post(f"/calls/{call_id}/replay", body)


def _create_replay(tenant: Tenant, call_id: str, profile: dict[str, Any], **body: Any) -> Any:
    response = _post_replay(tenant, call_id, ai_profile_id=profile["id"], **body)
    assert response.status_code == 200, response.text
    return response.json


def _turn_texts(replay: Any, side: str) -> list[str | None]:
    return [turn[side] and turn[side]["text"] for turn in replay["turns"]]


# --- Comparison of both calls ---------------------------------------------------------------


def test_a_replay_returns_both_calls_turn_by_turn(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    replay = _create_replay(acme, call_id, other_profile)

    assert [turn["caller"] for turn in replay["turns"]] == list(UTTERANCES)
    assert [turn["sequence"] for turn in replay["turns"]] == [2, 4, 6]
    assert _turn_texts(replay, "original") == ["One appointment.", "One nine.", "One you."]
    assert _turn_texts(replay, "replay") == ["Two appointment.", "Two nine.", "Two you."]
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

    replay = _create_replay(acme, call_id, other_profile)

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

    current = _create_replay(acme, call_id, other_profile)
    first_version = _create_replay(acme, call_id, other_profile, version=1)

    assert _turn_texts(current, "replay")[0] == "Three appointment."
    assert _turn_texts(first_version, "replay")[0] == "Two appointment."
    assert (
        current["replay"]["ai_profile_version"],
        first_version["replay"]["ai_profile_version"],
    ) == (2, 1)


def test_a_version_of_a_deleted_profile_can_be_replayed(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    assert acme.delete(f"/ai-profiles/{other_profile['id']}").status_code == 204

    assert (
        _turn_texts(_create_replay(acme, call_id, other_profile, version=1), "replay")[0]
        == "Two appointment."
    )
    without_version = _post_replay(acme, call_id, ai_profile_id=other_profile["id"])
    assert without_version.json["errors"][0]["pointer"] == "/ai_profile_id"


def test_the_prompt_of_a_replay_has_the_variables_of_the_call(
    acme: Tenant, world: Factory, call_id: str, other_profile: dict[str, Any]
) -> None:
    acme.patch(
        f"/ai-profiles/{other_profile['id']}", {"system_prompt": "For {{order}} {{caller_number}}."}
    )
    world.sql(acme, """UPDATE calls SET call_metadata = '{"order": "seven"}'""")
    model = _install_model(_reply_from_prompt)

    replay = _create_replay(acme, call_id, other_profile)

    assert "For seven +14155550123." in model.requests[0].system
    replay_call = acme.get(f"/calls/{replay['replay_call_id']}").json
    assert replay_call["metadata"] == {"order": "seven", "replay_of": call_id}


def test_a_replay_is_not_recorded(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    acme.patch(f"/ai-profiles/{other_profile['id']}", {"recording": True})

    replay = _create_replay(acme, call_id, other_profile)

    replay_call = acme.get(f"/calls/{replay['replay_call_id']}").json
    assert replay_call["recording"] == {"status": "none"}
    assert replay["replay"]["greeting"] == "This call is recorded. Acme, two."


# --- Actions of the agent ---------------------------------------------------------------------


def test_after_the_agent_ends_the_call_later_turns_have_no_reply(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    _install_model(lambda _: ("Goodbye.", ToolCall("end_call", "{}")))

    replay = _create_replay(acme, call_id, other_profile)

    assert _turn_texts(replay, "replay") == ["Goodbye.", None, None]
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
    _install_model(
        lambda request: ("One moment.", transfer) if len(request.messages) == 2 else ("Yes.",)
    )

    replay = _create_replay(acme, call_id, other_profile)

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
    _install_model(lambda _: ("I have noted it.", take_message))

    replay = _create_replay(acme, call_id, other_profile)

    [action] = replay["turns"][0]["replay"]["actions"]
    assert (action["kind"], action["name"]) == ("take_message", "Jane")
    assert acme.get("/messages").json == []


def test_a_simulated_call_stores_its_message(acme: Tenant, other_profile: dict[str, Any]) -> None:
    take_message = ToolCall(
        "take_message", '{"name": "Jane", "number": null, "reason": "Call back."}'
    )
    _install_model(lambda _: ("I have noted it.", take_message))
    number = acme.number(ai_profile_id=other_profile["id"])["did_number"]

    acme.say(acme.simulate(number)["call_id"], "Tell them to call back.")

    messages = acme.get("/messages", simulated="true").json
    assert [(message["name"], message["simulated"]) for message in messages] == [("Jane", True)]


# --- Rejected requests ------------------------------------------------------------------------


def test_a_live_call_cannot_be_replayed(acme: Tenant, other_profile: dict[str, Any]) -> None:
    live_call_id = acme.simulate(acme.number()["did_number"])["call_id"]

    response = _post_replay(acme, live_call_id, ai_profile_id=other_profile["id"])

    assert (response.status_code, response.json["code"]) == (409, "call-not-finished")


def test_a_call_without_utterances_cannot_be_replayed(
    acme: Tenant, other_profile: dict[str, Any]
) -> None:
    silent_call_id = acme.simulate(acme.number()["did_number"])["call_id"]
    acme.post(f"/calls/{silent_call_id}/hangup")

    response = _post_replay(acme, silent_call_id, ai_profile_id=other_profile["id"])

    assert (response.status_code, response.json["code"]) == (409, "nothing-to-replay")


def test_the_call_profile_and_version_must_exist_in_the_tenant(
    acme: Tenant, globex: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    foreign_profile = globex.profile()

    assert _post_replay(globex, call_id, ai_profile_id=foreign_profile["id"]).status_code == 404
    for body in ({"ai_profile_id": foreign_profile["id"]}, {"ai_profile_id": str(uuid4())}):
        response = _post_replay(acme, call_id, **body)
        assert (response.status_code, response.json["errors"][0]["pointer"]) == (
            400,
            "/ai_profile_id",
        )
    unknown_version = _post_replay(acme, call_id, ai_profile_id=other_profile["id"], version=2)
    assert unknown_version.json["errors"][0]["pointer"] == "/version"
    assert len(acme.get("/calls").json) == 1


def test_a_replay_requires_the_write_and_content_scopes(
    acme: Tenant, world: Factory, call_id: str, other_profile: dict[str, Any]
) -> None:
    for scopes in (["write"], ["content"]):
        api = world.api(world.key(acme.id, scopes=scopes))

        response = api.post(
            acme.url(f"/calls/{call_id}/replay"), {"ai_profile_id": other_profile["id"]}
        )

        assert (response.status_code, response.json["code"]) == (403, "scope-missing")


def test_a_repeated_idempotency_key_creates_one_replay(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    key, path = {"Idempotency-Key": str(uuid4())}, f"/calls/{call_id}/replay"
    body = {"ai_profile_id": other_profile["id"]}

    first, repeated = (acme.post(path, body, headers=dict(key)) for _ in range(2))

    assert first.json == repeated.json
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert len(acme.get("/calls").json) == 2


def test_a_replay_over_the_stream_limit_returns_429(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    stream_limit.set_max_streams(1)
    try:
        with stream_limit.stream_slot():
            response = _post_replay(acme, call_id, ai_profile_id=other_profile["id"])
    finally:
        stream_limit.set_max_streams(4)

    assert (response.status_code, response.json["code"]) == (429, "too-many-streams")


# --- Time limit and failures ------------------------------------------------------------------


def test_a_replay_stops_before_a_turn_that_could_exceed_the_deadline(
    acme: Tenant, call_id: str, other_profile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining_times = iter((100.0, 100.0, 5.0))
    monkeypatch.setattr(
        replay_service, "deadline", SimpleNamespace(remaining_s=lambda: next(remaining_times))
    )

    replay = _create_replay(acme, call_id, other_profile)

    assert _turn_texts(replay, "replay") == ["Two appointment.", "Two nine.", None]
    assert (replay["complete"], replay["stopped_early"]) == (False, "out_of_time")
    assert replay["replay"]["end_reason"] == "api_hangup"


def test_a_replay_has_more_time_than_other_requests(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    remaining_times: list[float | None] = []

    def record_remaining_time(request: ModelRequest) -> tuple[str | ToolCall, ...]:
        remaining_times.append(deadline.remaining_s())
        return _reply_from_prompt(request)

    _install_model(record_remaining_time)
    _create_replay(acme, call_id, other_profile)

    assert remaining_times[0] is not None
    assert remaining_times[0] > 60


def test_a_failed_replay_leaves_no_open_call(
    acme: Tenant, call_id: str, other_profile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_service, "call_types", SimpleNamespace(collect_turn=lambda _: 1 / 0))

    with pytest.raises(ZeroDivisionError):
        replay_service.replay_call(
            acme.ref,
            carriers=providers.current_carriers(),
            services=call_services.current_services(),
            call_id=UUID(call_id),
            ai_profile_id=UUID(other_profile["id"]),
        )

    assert [call["status"] for call in acme.get("/calls").json] == ["completed"] * 2


# --- The command ------------------------------------------------------------------------------


def test_the_command_prints_a_replay_as_json_and_as_text(
    app: Flask, acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    command = ["calls", "replay", acme.id, call_id, "--profile", other_profile["id"]]

    json_result = app.test_cli_runner().invoke(args=[*command, "--json"])
    text_result = app.test_cli_runner().invoke(args=[*command, "--version", "1"])
    unknown_version = app.test_cli_runner().invoke(args=[*command, "--version", "7"])

    assert json_result.exit_code == text_result.exit_code == 0, (
        json_result.output + text_result.output
    )
    assert _turn_texts(json.loads(json_result.stdout), "replay") == [
        "Two appointment.",
        "Two nine.",
        "Two you.",
    ]
    for line in ("I need an appointment.", "One appointment.", "Two appointment.", "api_hangup"):
        assert line in text_result.stdout
    command[2] = str(uuid4())
    assert "There is no such resource." in app.test_cli_runner().invoke(args=command).output
    assert unknown_version.exit_code == 1
    assert "version: The AI profile has no such version." in unknown_version.output
