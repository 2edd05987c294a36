"""A finished call said again to another profile: both sides aligned, nothing done twice."""

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
from vca.tenant.calls.simulation import replay as replaying
from vca.tenant.calls.simulation import stream_limit

SAID = ("I need an appointment.", "Tomorrow at nine.", "Thank you.")
Answer = Callable[[ModelRequest], tuple[str | ToolCall, ...]]


class Model(ModelClient):
    """Answers as the test says, from the profile's prompt; each answer costs 10 in and 2 out."""

    deterministic: ClassVar[bool] = True

    def __init__(self, answers: Answer) -> None:
        self.answers = answers
        self.requests: list[ModelRequest] = []

    def stream(self, request: ModelRequest) -> Generator[str | ToolCall, None, Tokens]:
        self.requests.append(request)
        yield from self.answers(request)
        return Tokens(10, 2)


def _prompted(request: ModelRequest) -> tuple[str | ToolCall, ...]:
    """Says the last word of its prompt and of the caller's line."""
    caller = request.messages[-1].text.removesuffix(".").split()[-1]
    return (f"{request.profile.system_prompt.split()[-1]} {caller}.",)


def _use(answers: Answer) -> Model:
    model = Model(answers)
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(model))
    )
    return model


@pytest.fixture
def other(acme: Tenant) -> dict[str, Any]:
    """Acme's second profile."""
    acme.profile(name="one", system_prompt="Say One", greeting="Acme, one.")
    return acme.profile(
        name="two",
        system_prompt="Say Two",
        greeting="Acme, two.",
        tools=["end_call", "transfer", "take_message", "fallback"],
        transfer_targets={"front desk": {"number": "+442079460123", "description": "People."}},
    )


@pytest.fixture
def call(app: Flask, acme: Tenant, other: dict[str, Any]) -> str:
    """A finished call of acme's, held by the first profile."""
    _use(_prompted)
    call: str = acme.simulate(acme.number()["did_number"], **{"from": "+14155550123"})["call_id"]
    for words in SAID:
        acme.say(call, words)
    acme.post(f"/calls/{call}/hangup")
    return call


def _replay(tenant: Tenant, call: str, **body: Any) -> ApiResponse:
    return tenant.post(f"/calls/{call}/replay", body)


def _replayed(tenant: Tenant, call: str, profile: dict[str, Any], **body: Any) -> Any:
    response = _replay(tenant, call, ai_profile_id=profile["id"], **body)
    assert response.status_code == 200, response.text
    return response.json


def _texts(told: Any, side: str) -> list[str | None]:
    return [turn[side] and turn[side]["text"] for turn in told["turns"]]


# --- Both sides -----------------------------------------------------------------------------


def test_both_calls_are_told_turn_by_turn(acme: Tenant, call: str, other: dict[str, Any]) -> None:
    told = _replayed(acme, call, other)

    assert [turn["caller"] for turn in told["turns"]] == list(SAID)
    assert [turn["sequence"] for turn in told["turns"]] == [2, 4, 6]
    assert _texts(told, "original") == ["One appointment.", "One nine.", "One you."]
    assert _texts(told, "replay") == ["Two appointment.", "Two nine.", "Two you."]
    assert (told["complete"], told["stopped_early"]) == (True, None)
    assert told["original"]["greeting"] == "Acme, one."
    assert told["replay"]["greeting"] == "Acme, two."
    assert told["original"]["end_reason"] == told["replay"]["end_reason"] == "api_hangup"
    for side in ("original", "replay"):
        assert told[side]["tokens"] == {"input": 30, "output": 6}
        assert set(told[side]["latency"]["model"]) == {"p50_ms", "p95_ms", "max_ms"}
        for turn in told["turns"]:
            assert turn[side]["tokens"] == {"input": 10, "output": 2}
            assert set(turn[side]["latency_ms"]) == {
                "model",
                "model_first_token",
                "database",
                "total",
            }


def test_the_replay_is_a_simulated_call_on_record_that_says_what_it_is(
    acme: Tenant, call: str, other: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    before = acme.get(f"/calls/{call}").json

    told = _replayed(acme, call, other)

    assert acme.get(f"/calls/{call}").json == before
    kept = acme.get(f"/calls/{told['replay_call_id']}").json
    assert kept["simulated"] is True
    assert kept["metadata"] == {"replay_of": call}
    assert (kept["status"], kept["end_reason"]) == ("completed", "api_hangup")
    assert (kept["caller_number"], kept["called_number"]) == (
        "+14155550123",
        before["called_number"],
    )
    assert (kept["provider_type"], kept["direction"]) == ("fake", "inbound")
    assert kept["ai_profile_id"] == other["id"]
    [rule] = kept["route"]["rules"]
    assert rule == {
        "rule": "profile",
        "verdict": "decided",
        "why": "the replay was requested with this profile",
    }
    assert kept["tokens"] == 36
    assert [what for what, _ in carrier.operations] == ["on_inbound_call"]


def test_a_version_is_replayed_as_it_was_and_the_present_one_if_none_is_named(
    acme: Tenant, call: str, other: dict[str, Any]
) -> None:
    acme.patch(f"/ai-profiles/{other['id']}", {"system_prompt": "Say Three"})

    now = _replayed(acme, call, other)
    before = _replayed(acme, call, other, version=1)

    assert _texts(now, "replay")[0] == "Three appointment."
    assert _texts(before, "replay")[0] == "Two appointment."
    assert (now["replay"]["ai_profile_version"], before["replay"]["ai_profile_version"]) == (2, 1)


def test_a_version_of_a_deleted_profile_can_still_be_named(
    acme: Tenant, call: str, other: dict[str, Any]
) -> None:
    assert acme.delete(f"/ai-profiles/{other['id']}").status_code == 204

    assert _texts(_replayed(acme, call, other, version=1), "replay")[0] == "Two appointment."
    gone = _replay(acme, call, ai_profile_id=other["id"])
    assert gone.json["errors"][0]["pointer"] == "/ai_profile_id"


def test_the_prompt_may_tell_what_it_could_tell_then(
    acme: Tenant, world: Factory, call: str, other: dict[str, Any]
) -> None:
    acme.patch(f"/ai-profiles/{other['id']}", {"system_prompt": "For {{order}} {{caller_number}}."})
    world.sql(acme, """UPDATE calls SET call_metadata = '{"order": "seven"}'""")
    model = _use(_prompted)

    told = _replayed(acme, call, other)

    assert "For seven +14155550123." in model.requests[0].system
    kept = acme.get(f"/calls/{told['replay_call_id']}").json
    assert kept["metadata"] == {"order": "seven", "replay_of": call}


def test_a_profile_that_records_does_not_record_a_replay(
    acme: Tenant, call: str, other: dict[str, Any]
) -> None:
    acme.patch(f"/ai-profiles/{other['id']}", {"recording": True})

    told = _replayed(acme, call, other)

    kept = acme.get(f"/calls/{told['replay_call_id']}").json
    assert kept["recording"] == {"status": "none"}
    assert told["replay"]["greeting"] == "This call is recorded. Acme, two."


# --- What the agent does ----------------------------------------------------------------------


def test_an_agent_that_ends_the_call_leaves_the_rest_unanswered(
    acme: Tenant, call: str, other: dict[str, Any]
) -> None:
    _use(lambda _: ("Goodbye.", ToolCall("end_call", "{}")))

    told = _replayed(acme, call, other)

    assert _texts(told, "replay") == ["Goodbye.", None, None]
    assert told["turns"][0]["replay"]["actions"] == [
        {"kind": "hang_up", "end_reason": "agent_hangup"}
    ]
    assert (told["complete"], told["stopped_early"]) == (True, "call_ended")
    assert told["replay"]["end_reason"] == "agent_hangup"
    assert len(acme.get(f"/calls/{told['replay_call_id']}/turns").json) == 3


def test_nobody_is_dialled_and_nobody_answers_a_transfer(
    acme: Tenant, world: Factory, call: str, other: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    away = ToolCall("transfer", json.dumps({"target": "front desk"}).decode())
    _use(lambda asked: ("One moment.", away) if len(asked.messages) == 2 else ("Yes.",))

    told = _replayed(acme, call, other)

    first, *rest = told["turns"]
    assert first["replay"]["text"].startswith("One moment. ")
    assert first["replay"]["actions"] == [{"kind": "transfer", "target": "front desk"}]
    assert [turn["replay"]["text"] for turn in rest] == ["Yes.", "Yes."]
    assert [what for what, _ in carrier.operations] == ["on_inbound_call"]
    kept = acme.get(f"/calls/{told['replay_call_id']}").json
    assert kept["transfer"]["status"] == "no_answer"
    assert set(kept["transfer"]) == {"target", "status", "on_failure", "started_at"}
    assert "+442079460123" not in acme.get(f"/calls/{told['replay_call_id']}").text


def test_a_message_is_told_and_not_left_again(
    acme: Tenant, call: str, other: dict[str, Any]
) -> None:
    note = ToolCall("take_message", '{"name": "Jane", "number": null, "reason": "Call back."}')
    _use(lambda _: ("I have noted it.", note))

    told = _replayed(acme, call, other)

    [action] = told["turns"][0]["replay"]["actions"]
    assert (action["kind"], action["name"]) == ("take_message", "Jane")
    assert acme.get("/messages").json == []


def test_a_simulated_call_does_leave_its_message(acme: Tenant, other: dict[str, Any]) -> None:
    note = ToolCall("take_message", '{"name": "Jane", "number": null, "reason": "Call back."}')
    _use(lambda _: ("I have noted it.", note))
    number = acme.number(ai_profile_id=other["id"])["did_number"]

    acme.say(acme.simulate(number)["call_id"], "Tell them to call back.")

    left = acme.get("/messages", simulated="true").json
    assert [(message["name"], message["simulated"]) for message in left] == [("Jane", True)]


# --- Refusals ---------------------------------------------------------------------------------


def test_a_live_call_is_not_replayed(acme: Tenant, other: dict[str, Any]) -> None:
    live = acme.simulate(acme.number()["did_number"])["call_id"]

    refused = _replay(acme, live, ai_profile_id=other["id"])

    assert (refused.status_code, refused.json["code"]) == (409, "call-not-finished")


def test_a_call_in_which_nobody_spoke_has_nothing_to_replay(
    acme: Tenant, other: dict[str, Any]
) -> None:
    silent = acme.simulate(acme.number()["did_number"])["call_id"]
    acme.post(f"/calls/{silent}/hangup")

    refused = _replay(acme, silent, ai_profile_id=other["id"])

    assert (refused.status_code, refused.json["code"]) == (409, "nothing-to-replay")


def test_anothers_call_and_profile_are_as_not_there(
    acme: Tenant, globex: Tenant, call: str, other: dict[str, Any]
) -> None:
    theirs = globex.profile()

    assert _replay(globex, call, ai_profile_id=theirs["id"]).status_code == 404
    for wanted in ({"ai_profile_id": theirs["id"]}, {"ai_profile_id": str(uuid4())}):
        refused = _replay(acme, call, **wanted)
        assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (
            400,
            "/ai_profile_id",
        )
    unknown = _replay(acme, call, ai_profile_id=other["id"], version=2)
    assert unknown.json["errors"][0]["pointer"] == "/version"
    assert len(acme.get("/calls").json) == 1


def test_who_may_not_read_what_was_said_may_not_replay_it(
    acme: Tenant, world: Factory, call: str, other: dict[str, Any]
) -> None:
    for scopes in (["write"], ["content"]):
        api = world.api(world.key(acme.id, scopes=scopes))

        refused = api.post(acme.url(f"/calls/{call}/replay"), {"ai_profile_id": other["id"]})

        assert (refused.status_code, refused.json["code"]) == (403, "scope-missing")


def test_the_same_request_is_replayed_once(acme: Tenant, call: str, other: dict[str, Any]) -> None:
    key, path = {"Idempotency-Key": str(uuid4())}, f"/calls/{call}/replay"
    body = {"ai_profile_id": other["id"]}

    first, again = (acme.post(path, body, headers=dict(key)) for _ in range(2))

    assert first.json == again.json
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(acme.get("/calls").json) == 2


def test_one_replay_too_many_is_refused(acme: Tenant, call: str, other: dict[str, Any]) -> None:
    stream_limit.set_max_streams(1)
    try:
        with stream_limit.stream_slot():
            refused = _replay(acme, call, ai_profile_id=other["id"])
    finally:
        stream_limit.set_max_streams(4)

    assert (refused.status_code, refused.json["code"]) == (429, "too-many-streams")


# --- Time, and failures -----------------------------------------------------------------------


def test_it_stops_before_the_turn_that_might_not_end_in_time(
    acme: Tenant, call: str, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter((100.0, 100.0, 5.0))
    monkeypatch.setattr(replaying, "deadline", SimpleNamespace(remaining_s=lambda: next(left)))

    told = _replayed(acme, call, other)

    assert _texts(told, "replay") == ["Two appointment.", "Two nine.", None]
    assert (told["complete"], told["stopped_early"]) == (False, "out_of_time")
    assert told["replay"]["end_reason"] == "api_hangup"


def test_a_replay_has_more_time_than_other_requests(
    acme: Tenant, call: str, other: dict[str, Any]
) -> None:
    left: list[float | None] = []

    def look(request: ModelRequest) -> tuple[str | ToolCall, ...]:
        left.append(deadline.remaining_s())
        return _prompted(request)

    _use(look)
    _replayed(acme, call, other)

    assert left[0] is not None
    assert left[0] > 60


def test_a_replay_that_fails_leaves_no_call_open(
    acme: Tenant, call: str, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "call_types", SimpleNamespace(collect_turn=lambda _: 1 / 0))

    with pytest.raises(ZeroDivisionError):
        replaying.replay_call(
            acme.ref,
            carriers=providers.current_carriers(),
            services=call_services.current_services(),
            call_id=UUID(call),
            ai_profile_id=UUID(other["id"]),
        )

    assert [each["status"] for each in acme.get("/calls").json] == ["completed"] * 2


# --- The command ------------------------------------------------------------------------------


def test_the_command_tells_what_the_api_tells(
    app: Flask, acme: Tenant, call: str, other: dict[str, Any]
) -> None:
    words = ["calls", "replay", acme.id, call, "--profile", other["id"]]

    told = app.test_cli_runner().invoke(args=[*words, "--json"])
    shown = app.test_cli_runner().invoke(args=[*words, "--version", "1"])
    unknown = app.test_cli_runner().invoke(args=[*words, "--version", "7"])

    assert told.exit_code == shown.exit_code == 0, told.output + shown.output
    assert _texts(json.loads(told.stdout), "replay") == [
        "Two appointment.",
        "Two nine.",
        "Two you.",
    ]
    for line in ("I need an appointment.", "One appointment.", "Two appointment.", "api_hangup"):
        assert line in shown.stdout
    words[2] = str(uuid4())
    assert "There is no such resource." in app.test_cli_runner().invoke(args=words).output
    assert unknown.exit_code == 1
    assert "version: The AI profile has no such version." in unknown.output
