"""What a profile redacts is on record nowhere, and the call goes on as ever."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.support import erasure_fixture
from tests.support.carrier_client import CarrierClient, spoken_text
from tests.support.factories import Factory, Tenant

Says = Callable[..., SequenceModel]
CARD, EMAIL, BADGE = "4111 1111 1111 1111", "jane.doe@example.com", "ab-1234"
SAID = f"My card is {CARD}, mail {EMAIL}, badge {BADGE}."
KEPT = "My card is [card number], mail [e-mail address], badge [redacted]."
REDACTION = {"card_numbers": True, "email_addresses": True, "patterns": ["@@-####"]}


@pytest.fixture
def profile(acme: Tenant) -> dict[str, Any]:
    """One that keeps no card number, no address and no badge."""
    return acme.profile(
        greeting="Acme here.",
        tools=["take_message"],
        extract=erasure_fixture.EXTRACT_SCHEMA,
        redaction=REDACTION,
    )


@pytest.fixture
def state(carrier_client: CarrierClient, acme: Tenant, profile: dict[str, Any]) -> str:
    """The token of a live call."""
    return str(carrier_client.ring(acme.number()["did_number"], "call-1")["state"])


def test_both_sides_are_redacted_before_they_are_written(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    script_model([f"I repeat: {SAID}"])

    answer = carrier_client.say("call-1", state, SAID)

    assert spoken_text(answer) == f"I repeat: {SAID}"
    assert call_record.transcript == [
        "agent: Acme here.",
        f"caller: {KEPT}",
        f"agent: I repeat: {KEPT}",
    ]


def test_the_model_reads_what_was_said_now_and_what_was_kept_of_before(
    carrier_client: CarrierClient, script_model: Says, state: str
) -> None:
    model = script_model(["Yes."], ["Bye."])

    state = carrier_client.say("call-1", state, SAID)["state"]
    carrier_client.say("call-1", state, "Anything else?")

    assert model.requests[0].messages[-1].text == SAID
    assert KEPT in [message.text for message in model.requests[1].messages]
    assert SAID not in [message.text for message in model.requests[1].messages]


def test_the_same_words_again_are_one_turn_all_the_same(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    model = script_model(["Yes."], ["No."])

    answers = [spoken_text(carrier_client.say("call-1", state, SAID)) for _ in range(2)]

    assert answers == ["Yes.", "Yes."]
    assert len(model.requests) == 1
    assert len(call_record.turns) == 3


def test_messages_summary_and_data_are_redacted(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    world: Factory,
    state: str,
) -> None:
    left = {"name": f"Jane {BADGE}", "number": None, "reason": SAID}
    noted = {"summary": SAID, "outcome": "resolved", "data": {"name": SAID}}
    script_model(
        ["Noted.", erasure_fixture.tool_call("take_message", **left)],
        [erasure_fixture.tool_call("note_call", **noted)],
    )
    carrier_client.say("call-1", state, "Take a message.")
    carrier_client.send_status("call-1", "completed", state=state)

    world.run_jobs(call_record.tenant)

    [message] = call_record.messages
    assert (message["name"], message["reason"]) == ("Jane [redacted]", KEPT)
    assert (call_record.call["summary"], call_record.call["data"]) == (KEPT, {"name": KEPT})
    [action] = call_record.turns[-1]["actions"]
    assert (action["name"], action["reason"]) == ("Jane [redacted]", KEPT)


def test_a_call_keeps_to_the_version_that_answered_it(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    profile: dict[str, Any],
    state: str,
) -> None:
    script_model(["Yes."])
    changed = call_record.tenant.patch(f"/ai-profiles/{profile['id']}", {"redaction": {}})

    carrier_client.say("call-1", state, SAID)

    assert changed.json["version"] == 2
    assert call_record.turns[1]["text"] == KEPT


def test_what_a_profile_redacts_is_shown_and_kept_in_its_versions(
    acme: Tenant, profile: dict[str, Any]
) -> None:
    url = f"/ai-profiles/{profile['id']}"
    changed = acme.patch(url, {"redaction": {"card_numbers": True}}).json

    assert profile["redaction"] == REDACTION
    whole = {"card_numbers": True, "email_addresses": False, "patterns": []}
    assert changed["redaction"] == whole
    versions = acme.get(f"{url}/versions").json
    assert [version["redaction"] for version in versions] == [whole, REDACTION]
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
def test_what_cannot_be_redacted_is_refused(acme: Tenant, redaction: object, pointer: str) -> None:
    answer = acme.post("/ai-profiles", {"system_prompt": "x", "redaction": redaction})

    assert answer.status_code == 400
    assert answer.json["errors"][0]["pointer"] == pointer


def test_what_is_said_into_a_call_is_redacted_too(
    carrier_client: CarrierClient, call_record: CallRecord, state: str
) -> None:
    call = call_record.call["id"]

    assert call_record.tenant.post(f"/calls/{call}/say", {"text": SAID}).status_code == 200

    assert call_record.turns[-1]["text"] == KEPT
