"""What a caller hears and a tenant sees of an agent's actions: only what was done, and why not."""

from collections.abc import Callable

import pytest

from tests.fakes.hostile_model import TOOL_CALLS, transfer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Tenant, fresh_number
from vca.conversation.llm import ToolCall
from vca.kit import json
from vca.observability import log, metrics

ScriptModel = Callable[..., SequenceModel]
TOOLS = ["end_call", "transfer", "take_message", "fallback"]
BAD_MESSAGE = ToolCall("take_message", '{"name": "Ann"}')
SECRET = "price list"


@pytest.fixture
def state(carrier_client: CarrierClient, acme: Tenant) -> str:
    """Return the state token of a live call whose agent has all tools."""
    targets = {"sales": {"number": fresh_number(), "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=TOOLS, transfer_targets=targets)
    return str(carrier_client.ring(acme.number()["did_number"], "call-1")["state"])


def test_the_agent_says_that_it_connects_the_caller_once_the_transfer_is_ordered(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model([transfer("sales")])

    response = carrier_client.say("call-1", state, "Sales, please.")

    assert action_types(response) == ["say", "transfer"]
    assert spoken_text(response) == "One moment, I am connecting you."
    assert call_record.transcript[-1] == "agent: One moment, I am connecting you."


def test_the_agent_does_not_say_that_it_connects_a_caller_whom_it_may_not_connect(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    world: Factory,
    state: str,
) -> None:
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = now()")
    model = script_model([transfer("sales")], ["At nine."])

    response = carrier_client.say("call-1", state, "Sales, please.")
    repeated = carrier_client.say("call-1", state, "Sales, please.")
    next_response = carrier_client.say("call-1", response["state"], "When are they in?")

    assert action_types(response) == ["say", "listen"]
    assert spoken_text(response) == spoken_text(repeated)
    assert "nobody could be reached" in spoken_text(response)
    assert "connecting" not in "".join(call_record.transcript)
    assert spoken_text(next_response) == "At nine."
    assert [turn["speaker"] for turn in call_record.turns] == ["agent", *["caller", "agent"] * 2]
    assert "nobody could be reached" in model.requests[-1].messages[-2].text


def test_the_agent_says_that_a_message_is_noted_once_it_is_stored(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model([ToolCall("take_message", '{"reason": "Call back.", "urgency": "high"}')])

    response = carrier_client.say("call-1", state, "Call me back.")

    assert spoken_text(response).startswith("Thank you, I have noted that.")
    assert [message["reason"] for message in call_record.messages] == ["Call back."]


def test_a_call_that_the_model_does_not_correct_leaves_no_message_and_is_admitted(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    state: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted_reasons: list[object] = []
    monkeypatch.setattr(
        metrics.TOOLS_REFUSED, "inc", lambda **labels: counted_reasons.append(labels["reason"])
    )
    script_model(["I have noted your message.", BAD_MESSAGE])
    log.configure("info")

    response = carrier_client.say("call-1", state, "Call me back.")

    assert spoken_text(response) == (
        "I have noted your message. I have noted your message. I am sorry, that did not work."
    )
    assert call_record.messages == []
    assert (
        call_record.turns[-1]["refused_tools"]
        == [{"name": "take_message", "reason": "bad_arguments"}] * 2
    )
    assert call_record.turns[-1]["actions"] == []
    assert counted_reasons == ["bad_arguments"] * 2
    entries = [json.loads(entry) for entry in capsys.readouterr().out.splitlines()]
    refusals = [entry for entry in entries if entry["event"] == "call.tool_refused"]
    assert [entry["reason"] for entry in refusals] == ["bad_arguments"] * 2
    assert {entry["call_id"] for entry in refusals} == {call_record.call["id"]}


def test_a_corrected_call_is_executed_and_its_first_form_is_on_record(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model([BAD_MESSAGE], [TOOL_CALLS["take_message"], "I have noted it."])

    carrier_client.say("call-1", state, "Call me back.")

    [message] = call_record.messages
    turn = call_record.turns[-1]
    assert (message["name"], message["reason"]) == ("A", "R")
    assert [action["kind"] for action in turn["actions"]] == ["take_message"]
    assert turn["refused_tools"] == [{"name": "take_message", "reason": "bad_arguments"}]
    assert turn["text"] == "I have noted it."


def test_the_name_of_an_unknown_tool_is_cut_and_cleaned(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    names = ["x" * 500, "a\x00b\u202e\ud83d", ""]
    script_model(["Yes.", *(ToolCall(name, "{}") for name in names)], ["Yes."])

    carrier_client.say("call-1", state, "Hello?")

    refused_tools = call_record.turns[-1]["refused_tools"]
    assert [tool["name"] for tool in refused_tools] == ["x" * 64, "ab", ""]
    assert {tool["reason"] for tool in refused_tools} == {"unknown_tool"}


def test_reasoning_is_neither_said_nor_stored_nor_sent_again(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    model = script_model(
        [f"<think>Do not tell them the {SECRET}. ", "They may be a rival.</think>We open at nine."],
        [f"The caller asks for the {SECRET}. ", "I will not.", "</think>", "Anything else?"],
        ["Goodbye."],
    )

    for utterance in ("When do you open?", "And the prices?", "No."):
        state = carrier_client.say("call-1", state, utterance)["state"]

    assert call_record.transcript[2::2] == [
        "agent: We open at nine.",
        "agent: Anything else?",
        "agent: Goodbye.",
    ]
    assert SECRET not in json.dumps(call_record.turns).decode()
    assert not [
        message
        for request in model.requests
        for message in request.messages
        if SECRET in message.text
    ]


def test_a_turn_without_refused_tools_has_an_empty_list(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model(["Yes."])

    carrier_client.say("call-1", state, "Hello?")

    assert [turn["refused_tools"] for turn in call_record.turns] == [[], [], []]
