"""The scripted model's answers to questions about hours, people and what it can do."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.contract.suites.llm import read_stream
from vca.conversation import prompt, tools
from vca.conversation.llm import ModelRequest, ToolCall
from vca.conversation.types import CallFacts, Message, OpeningHours, Profile, Schedule
from vca.devtools.scripted_model.model import ScriptedModel

PROFILE_WITH_TOOLS = Profile(
    "Ada",
    "receptionist",
    "We are Acme.",
    tools=tuple(tools.TOOLS),
    transfer_targets={"sales": "Orders", "sales abroad": "Orders from abroad"},
)
SCHEDULE = Schedule((((8 * 60, 18 * 60),),) * 5 + ((), ()))
HOURS = OpeningHours(SCHEDULE, "America/Los_Angeles", is_open=True)
HOURS_ANSWER = (
    "Open now. These are our hours. Monday to Friday: 8:00 AM to 6:00 PM. "
    "Saturday and Sunday: closed."
)


def ask(
    *lines: str, profile: Profile = PROFILE_WITH_TOOLS, hours: OpeningHours | None = HOURS
) -> tuple[str, list[str]]:
    """Return the text and the names of the called tools of the answer to the last line."""
    now = datetime(2026, 11, 30, 9, tzinfo=UTC)
    facts = CallFacts("+14155550100", "+442079460000", now, hours=hours)
    request = ModelRequest(
        profile,
        prompt.build_system_prompt(profile, facts=facts, now=now),
        tuple(Message("caller", line) for line in lines),
        tools=tools.available_tools(profile),
    )
    chunks, _ = read_stream(ScriptedModel().stream(request))
    text = "".join(chunk for chunk in chunks if isinstance(chunk, str))
    return text, [chunk.name for chunk in chunks if isinstance(chunk, ToolCall)]


@pytest.mark.parametrize(
    "line",
    [
        "When are you open?",
        "What are your opening hours",
        "opening hours please",
        "Hello, are you open on Sunday?",
        "What time do you close today?",
        "Is the office closed at Christmas?",
    ],
)
def test_a_question_about_the_hours_is_answered_from_the_prompt(line: str) -> None:
    assert ask(line)[0] == f"{HOURS_ANSWER} What else can I do for you?"
    assert ask("My boiler is broken.", line)[0] == f"{HOURS_ANSWER} May I have your name, please?"


@pytest.mark.parametrize("line", ["My window does not close.", "It took three hours of my time."])
def test_a_statement_with_a_word_about_hours_is_a_reason_for_the_call(line: str) -> None:
    assert ask(line)[0].startswith("I see. ")


def test_without_hours_the_script_says_that_it_does_not_know_them() -> None:
    text, _ = ask("When are you open?", hours=None)

    assert text == "I do not know our opening hours. What else can I do for you?"
    assert "opening hours" not in ask("What can you do?", hours=None)[0]


def test_a_caller_who_asks_whom_to_talk_to_can_name_one_of_the_targets() -> None:
    offer, no_calls = ask("Who can I talk to?")
    text, calls = ask("Who can I talk to?", "sales abroad, please")

    assert offer == (
        "I can connect you with sales or sales abroad. Whom would you like to speak to?"
    )
    assert no_calls == []
    assert (text, calls) == ("One moment, I am connecting you.", ["transfer"])


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("Please connect me with the dentist", "dentist on duty"),
        ("Connect me with billing, please", "billing"),
        ("Connect me with the kitchen", None),
    ],
)
def test_a_word_that_only_one_target_has_names_it(line: str, target: str | None) -> None:
    targets = {
        "billing": "Bills",
        "dentist on duty": "Emergencies",
        "left kitchen": "",
        "right kitchen": "",
    }
    profile = replace(PROFILE_WITH_TOOLS, transfer_targets=targets)

    assert ("transfer" in ask(line, profile=profile)[1]) is (target is not None)


def test_without_the_tool_no_target_is_offered() -> None:
    profile = replace(PROFILE_WITH_TOOLS, tools=("take_message",))

    for line in ("Who can I talk to?", "Put me through to sales.", "Can I speak to a human?"):
        assert ask(line, profile=profile) == (
            "I cannot connect calls. What else can I do for you?",
            [],
        )


def test_an_unknown_question_is_answered_with_what_the_script_can_do() -> None:
    text, calls = ask("What does a crown cost?")

    assert text == (
        "I am VCA's scripted model and understand only a few sentences. I can tell you our opening "
        "hours, connect you with sales or sales abroad, and take a message. What else can I do for "
        "you?"
    )
    assert calls == []


@pytest.mark.parametrize(
    "line", ["Who are you?", "Are you a robot?", "Am I talking to an AI?", "Can you help me?"]
)
def test_the_script_says_what_it_is(line: str) -> None:
    assert ask(line)[0].startswith("I am VCA's scripted model and understand only a few sentences.")


@pytest.mark.parametrize(
    "line", ["Can you take a message?", "I'd like to leave a message", "What is 1 + 1?|yes"]
)
def test_a_message_asks_for_reason_and_name(line: str) -> None:
    lines = [*line.split("|"), "My tooth hurts", "Jane Doe"]
    replies = [ask(*lines[: count + 1]) for count in range(len(lines))]

    assert replies[-3][0] == "Of course. What is your call about?"
    assert replies[-2][0] == "I see. May I have your name, please?"
    assert "somebody will call you back" in replies[-1][0]
    assert [calls for _, calls in replies[-3:]] == [[], [], ["take_message"]]


def test_a_request_is_a_reason_for_the_call() -> None:
    text, _ = ask("Could I get an appointment on Tuesday?")

    assert text == "I see. May I have your name, please?"


def test_every_role_asks_for_the_name_if_it_takes_messages() -> None:
    profile = replace(PROFILE_WITH_TOOLS, role="support")

    text, _ = ask("My router does not work", "I restarted it", profile=profile)

    assert text.endswith("May I have your name, please?")


def test_keys_are_not_taken_for_a_reason() -> None:
    assert ask("(pressed 1)")[0].startswith("I have no menu for keys.")


def test_a_caller_with_no_other_wish_is_parted_with() -> None:
    text, calls = ask("When are you open?", "no")

    assert text == "Thank you for calling. Goodbye."
    assert calls == ["end_call"]
