"""What a profile redacts is on record nowhere, and the call goes on as ever."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.doubles.models import Rehearsed
from tests.flows.conftest import Record
from tests.support import known_caller
from tests.support.carrier_line import CarrierLine, words
from tests.support.world import Tenant, World

Says = Callable[..., Rehearsed]
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
        extract=known_caller.EXTRACT,
        redaction=REDACTION,
    )


@pytest.fixture
def state(line: CarrierLine, acme: Tenant, profile: dict[str, Any]) -> str:
    """The token of a live call."""
    return str(line.ring(acme.number()["did_number"], "call-1")["state"])


def test_both_sides_are_redacted_before_they_are_written(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    says([f"I repeat: {SAID}"])

    answer = line.say("call-1", state, SAID)

    assert words(answer) == f"I repeat: {SAID}"
    assert record.said == ["agent: Acme here.", f"caller: {KEPT}", f"agent: I repeat: {KEPT}"]


def test_the_model_reads_what_was_said_now_and_what_was_kept_of_before(
    line: CarrierLine, says: Says, state: str
) -> None:
    model = says(["Yes."], ["Bye."])

    state = line.say("call-1", state, SAID)["state"]
    line.say("call-1", state, "Anything else?")

    assert model.asked[0].messages[-1].text == SAID
    assert KEPT in [message.text for message in model.asked[1].messages]
    assert SAID not in [message.text for message in model.asked[1].messages]


def test_the_same_words_again_are_one_turn_all_the_same(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    model = says(["Yes."], ["No."])

    answers = [words(line.say("call-1", state, SAID)) for _ in range(2)]

    assert answers == ["Yes.", "Yes."]
    assert len(model.asked) == 1
    assert len(record.turns) == 3


def test_messages_summary_and_data_are_redacted(
    line: CarrierLine, record: Record, says: Says, world: World, state: str
) -> None:
    left = {"name": f"Jane {BADGE}", "number": None, "reason": SAID}
    noted = {"summary": SAID, "outcome": "resolved", "data": {"name": SAID}}
    says(
        ["Noted.", known_caller.note("take_message", **left)],
        [known_caller.note("note_call", **noted)],
    )
    line.say("call-1", state, "Take a message.")
    line.status("call-1", "completed", state=state)

    world.work(record.tenant)

    [message] = record.messages
    assert (message["name"], message["reason"]) == ("Jane [redacted]", KEPT)
    assert (record.call["summary"], record.call["data"]) == (KEPT, {"name": KEPT})
    [action] = record.turns[-1]["actions"]
    assert (action["name"], action["reason"]) == ("Jane [redacted]", KEPT)


def test_a_call_keeps_to_the_version_that_answered_it(
    line: CarrierLine, record: Record, says: Says, profile: dict[str, Any], state: str
) -> None:
    says(["Yes."])
    changed = record.tenant.patch(f"/ai-profiles/{profile['id']}", {"redaction": {}})

    line.say("call-1", state, SAID)

    assert changed.json["version"] == 2
    assert record.turns[1]["text"] == KEPT


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
    line: CarrierLine, record: Record, state: str
) -> None:
    call = record.call["id"]

    assert record.tenant.post(f"/calls/{call}/say", {"text": SAID}).status_code == 200

    assert record.turns[-1]["text"] == KEPT
