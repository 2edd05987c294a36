"""Redaction: a profile's patterns are replaced before anything of a call is stored."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.support import erasure_fixture
from tests.support.carrier_client import CarrierClient, spoken_text
from tests.support.factories import Factory, Tenant

ScriptModel = Callable[..., SequenceModel]
CARD, EMAIL, BADGE = "4111 1111 1111 1111", "jane.doe@example.com", "ab-1234"
UTTERANCE = f"My card is {CARD}, mail {EMAIL}, badge {BADGE}."
REDACTED_UTTERANCE = "My card is [card number], mail [e-mail address], badge [redacted]."
REDACTION = {"card_numbers": True, "email_addresses": True, "patterns": ["@@-####"]}


@pytest.fixture
def profile(acme: Tenant) -> dict[str, Any]:
    """Return a profile that redacts card numbers, e-mail addresses and badges."""
    return acme.profile(
        greeting="Acme here.",
        tools=["take_message"],
        extract=erasure_fixture.EXTRACT_SCHEMA,
        redaction=REDACTION,
    )


@pytest.fixture
def state(carrier_client: CarrierClient, acme: Tenant, profile: dict[str, Any]) -> str:
    """Return the state token of a live call."""
    return str(carrier_client.ring(acme.number()["did_number"], "call-1")["state"])


def test_utterances_and_answers_are_redacted_before_they_are_stored(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model([f"I repeat: {UTTERANCE}"])

    response = carrier_client.say("call-1", state, UTTERANCE)

    assert spoken_text(response) == f"I repeat: {UTTERANCE}"
    assert call_record.transcript == [
        "agent: Acme here.",
        f"caller: {REDACTED_UTTERANCE}",
        f"agent: I repeat: {REDACTED_UTTERANCE}",
    ]


def test_the_model_gets_only_the_current_utterance_unredacted(
    carrier_client: CarrierClient, script_model: ScriptModel, state: str
) -> None:
    model = script_model(["Yes."], ["Bye."])

    state = carrier_client.say("call-1", state, UTTERANCE)["state"]
    carrier_client.say("call-1", state, "Anything else?")

    assert model.requests[0].messages[-1].text == UTTERANCE
    assert REDACTED_UTTERANCE in [message.text for message in model.requests[1].messages]
    assert UTTERANCE not in [message.text for message in model.requests[1].messages]


def test_a_repeated_utterance_with_redacted_text_creates_one_turn(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    model = script_model(["Yes."], ["No."])

    spoken_texts = [spoken_text(carrier_client.say("call-1", state, UTTERANCE)) for _ in range(2)]

    assert spoken_texts == ["Yes.", "Yes."]
    assert len(model.requests) == 1
    assert len(call_record.turns) == 3


def test_messages_summaries_and_extracted_data_are_redacted(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    world: Factory,
    state: str,
) -> None:
    message_arguments = {"name": f"Jane {BADGE}", "number": None, "reason": UTTERANCE}
    analysis_arguments = {"summary": UTTERANCE, "outcome": "resolved", "data": {"name": UTTERANCE}}
    script_model(
        ["Noted.", erasure_fixture.tool_call("take_message", **message_arguments)],
        [erasure_fixture.tool_call("note_call", **analysis_arguments)],
    )
    carrier_client.say("call-1", state, "Take a message.")
    carrier_client.send_status("call-1", "completed", state=state)

    world.run_jobs(call_record.tenant)

    [message] = call_record.messages
    assert (message["name"], message["reason"]) == ("Jane [redacted]", REDACTED_UTTERANCE)
    assert (call_record.call["summary"], call_record.call["data"]) == (
        REDACTED_UTTERANCE,
        {"name": REDACTED_UTTERANCE},
    )
    [action] = call_record.turns[-1]["actions"]
    assert (action["name"], action["reason"]) == ("Jane [redacted]", REDACTED_UTTERANCE)


def test_a_call_uses_the_redaction_of_the_profile_version_that_answered_it(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    profile: dict[str, Any],
    state: str,
) -> None:
    script_model(["Yes."])
    response = call_record.tenant.patch(f"/ai-profiles/{profile['id']}", {"redaction": {}})

    carrier_client.say("call-1", state, UTTERANCE)

    assert response.json["version"] == 2
    assert call_record.turns[1]["text"] == REDACTED_UTTERANCE


def test_the_redaction_settings_are_part_of_each_profile_version(
    acme: Tenant, profile: dict[str, Any]
) -> None:
    url = f"/ai-profiles/{profile['id']}"
    changed_profile = acme.patch(url, {"redaction": {"card_numbers": True}}).json

    assert profile["redaction"] == REDACTION
    all_settings = {"card_numbers": True, "email_addresses": False, "patterns": []}
    assert changed_profile["redaction"] == all_settings
    versions = acme.get(f"{url}/versions").json
    assert [version["redaction"] for version in versions] == [all_settings, REDACTION]
    assert acme.profile()["redaction"] == {}


@pytest.mark.parametrize(
    ("redaction", "pointer"),
    [
        ({"patterns": ["#"]}, "/redaction/patterns/0"),
        ({"patterns": ["# #"]}, "/redaction/patterns/0"),
        ({"patterns": ["###", "x" * 65]}, "/redaction/patterns/1"),
        ({"patterns": ["###"] * 21}, "/redaction/patterns"),
        ({"card_numbers": 1}, "/redaction/card_numbers"),
        ({"cards": True}, "/redaction/cards"),
        (None, "/redaction"),
    ],
)
def test_invalid_redaction_settings_return_400(
    acme: Tenant, redaction: object, pointer: str
) -> None:
    response = acme.post("/ai-profiles", {"system_prompt": "x", "redaction": redaction})

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == pointer


def test_text_spoken_through_the_api_is_redacted(
    carrier_client: CarrierClient, call_record: CallRecord, state: str
) -> None:
    call_id = call_record.call["id"]

    assert call_record.tenant.post(f"/calls/{call_id}/say", {"text": UTTERANCE}).status_code == 200

    assert call_record.turns[-1]["text"] == REDACTED_UTTERANCE
