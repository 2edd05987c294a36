"""The scripted model: the contract of model clients, and a conversation for each role."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.contract.suites.llm import ModelContract, make_request, read_stream, read_text
from vca.conversation import prompt, tools
from vca.conversation.llm import ModelError, ModelRequest, ToolCall
from vca.conversation.types import (
    CallFacts,
    Message,
    OpeningHours,
    Profile,
    Role,
    Schedule,
    Tokens,
)
from vca.devtools.scripted_model.model import ScriptedModel, build_reply


class TestContract(ModelContract):
    @pytest.fixture
    def model(self) -> ScriptedModel:
        return ScriptedModel()


def talk(role: Role, *lines: str, prompt: str = "You are Bella.") -> list[str]:
    """Return the reply to each of the caller's lines, in order."""
    profile = Profile("Ada", role, prompt)
    return [build_reply(profile, list(lines[: count + 1])) for count in range(len(lines))]


def test_the_receptionist_asks_for_reason_and_name_and_repeats_both() -> None:
    first, second, third = talk("receptionist", "My boiler is broken.", "ada lovelace", "yes")

    assert first == "I see: your boiler is broken. May I have your name, please?"
    assert second.startswith("Thank you, Ada Lovelace. Let me repeat:")
    assert "your boiler is broken" in second
    assert second.endswith("Is that right?")
    assert "somebody will call you back" in third


def test_a_caller_who_states_a_name_is_not_asked_for_it() -> None:
    (reply,) = talk("receptionist", "Hi, this is Grace Hopper, I'd like to see a doctor.")

    assert reply.startswith("Hello, Grace Hopper. I see: you would like to see a doctor.")
    assert "May I have your name" not in reply


def test_an_answer_that_is_no_name_is_recorded_and_the_name_requested_again() -> None:
    lines = ("My boiler is broken.", "I would like an appointment", "It's Jane", "yes")
    _, second, third, _ = talk("receptionist", *lines)

    assert second == (
        "I have noted this: you would like an appointment. May I have your name, please?"
    )
    assert third.startswith("Thank you, Jane. Let me repeat: your call is about this:")
    assert "also: you would like an appointment" in third
    insistent = talk(
        "receptionist", "My boiler is broken.", "It leaks a lot", "Hurry up, it leaks!"
    )
    assert insistent[2].startswith("Thank you, Hurry up, it leaks. Let me repeat")


def test_a_name_in_a_longer_answer_is_recognised() -> None:
    *_, reply = talk("receptionist", "My boiler is broken.", "I am Jane, call me back please")

    assert reply.startswith("Thank you, Jane. Let me repeat")


def test_a_greeting_without_a_reason_gets_the_question_of_the_role() -> None:
    assert talk("receptionist", "Hello there!") == ["What is your call about?"]


def test_sales_asks_for_need_size_and_budget() -> None:
    replies = talk("sales", "We need chairs for our office", "40", "about 5000 dollars")

    assert replies[0].endswith("For how many people or pieces is it?")
    assert replies[1].endswith("And what budget do you have in mind?")
    assert all(
        detail in replies[2] for detail in ("chairs for your office", "40", "about 5000 dollars")
    )


def test_support_asks_for_the_problem_and_what_was_tried() -> None:
    replies = talk("support", "My router does not work", "I restarted it")

    assert replies[0].endswith("What have you tried so far?")
    assert "your router does not work" in replies[1]
    assert "you restarted it" in replies[1]


def test_the_dispatcher_asks_for_the_address_and_the_urgency() -> None:
    replies = talk("dispatcher", "There is a fire", "This is Elm Street 5", "very urgent")

    assert replies[0].endswith("What is the exact address?")
    assert replies[1].startswith("The address is Elm Street 5. How urgent is it")
    assert "Elm Street 5" in replies[2]


def test_a_custom_role_introduces_itself_with_its_prompt() -> None:
    prompt = "You are Bella, the voice of Trattoria Roma. Never mention the other one."

    first, second = talk("custom", "A table for two", "tomorrow", prompt=prompt)

    assert first.startswith("I am Bella, the voice of Trattoria Roma. I see: A table for two.")
    assert "other one" not in first
    assert "I am Bella" not in second


def test_a_correction_is_accepted_at_once_or_requested() -> None:
    requested_correction = talk("support", "The lamp", "nothing", "no", "it is the fan")
    immediate_correction = talk("support", "The lamp", "nothing", "no, it is the fan")

    assert requested_correction[2] == "Sorry. What should I change?"
    assert requested_correction[3].startswith("I have changed it: it is the fan.")
    assert immediate_correction[2] == requested_correction[3]


@pytest.mark.parametrize("last_line", ["Goodbye", "thanks, that's all", "ok bye", "Thank you!"])
def test_a_goodbye_is_answered_with_a_summary_and_a_goodbye(last_line: str) -> None:
    replies = talk("receptionist", "My boiler is broken.", "Ada", "yes", last_line)

    assert replies[-1].startswith("Thank you for calling, Ada. I have noted:")
    assert "your boiler is broken" in replies[-1]
    assert replies[-1].endswith("Goodbye.")


def test_the_reply_depends_only_on_the_transcript() -> None:
    profile = Profile("Ada", "sales", "Sell.")
    request = make_request(
        "What are you looking for?", "chairs", "How many?", "40", profile=profile
    )

    assert read_text(ScriptedModel().stream(request)) == talk("sales", "chairs", "40")[-1]


def test_a_long_answer_is_repeated_in_short_form() -> None:
    (reply,) = talk("receptionist", "word " * 5000)

    assert len(reply) < 400
    assert "and so on" in reply


@pytest.mark.parametrize("messages", [(), (Message("agent", "Hello."),)])
def test_a_request_without_an_utterance_raises_a_permanent_error(
    messages: tuple[Message, ...],
) -> None:
    request = ModelRequest(Profile("Ada", "sales", "Sell."), "Sell.", messages)

    with pytest.raises(ModelError) as error_info:
        list(ScriptedModel().stream(request))

    assert error_info.value.permanent


# --- Tools -----------------------------------------------------------------------------------

PROFILE_WITH_TOOLS = Profile(
    "Ada",
    "receptionist",
    "We are Acme.",
    tools=tuple(tools.TOOLS),
    transfer_targets={"sales": "Orders", "sales abroad": "Orders from abroad"},
)


def answer_with_tools(
    *lines: str, profile: Profile = PROFILE_WITH_TOOLS
) -> tuple[str, list[ToolCall]]:
    """Return the text and the tool calls of the answer to the last of a caller's lines."""
    messages = tuple(Message("caller", line) for line in lines)
    request = ModelRequest(profile, "Hi.", messages, tools=tools.available_tools(profile))
    chunks, _ = read_stream(ScriptedModel().stream(request))
    text = "".join(chunk for chunk in chunks if isinstance(chunk, str))
    return text, [chunk for chunk in chunks if isinstance(chunk, ToolCall)]


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("Put me through to sales, please.", "sales"),
        ("I'd like to speak to Sales abroad", "sales abroad"),
        ("Can you connect me with the SALES?", "sales"),
    ],
)
def test_a_caller_who_asks_for_a_target_is_transferred_to_it(line: str, target: str) -> None:
    text, calls = answer_with_tools("Hello", line)

    assert text == "One moment, I am connecting you."
    assert calls == [ToolCall("transfer", f'{{"target":"{target}"}}')]


@pytest.mark.parametrize(
    "line", ["I have a question about sales.", "Put me through to salesmen.", "Connect me!"]
)
def test_a_caller_who_does_not_ask_for_a_target_is_not_transferred(line: str) -> None:
    assert answer_with_tools(line)[1] == []


def test_a_caller_who_asks_for_a_person_is_sent_to_the_fallback_number() -> None:
    assert answer_with_tools("Can I talk to a person?")[1] == [ToolCall("fallback", "{}")]


def test_a_message_is_taken_when_the_caller_has_confirmed_it() -> None:
    lines = ["My boiler is broken.", "Ada", "yes"]

    assert [answer_with_tools(*lines[:count])[1] for count in (1, 2)] == [[], []]
    text, calls = answer_with_tools(*lines)
    assert "somebody will call you back" in text
    assert calls == [
        ToolCall("take_message", '{"name":"Ada","number":null,"reason":"My boiler is broken"}')
    ]
    assert answer_with_tools(*lines, "It is urgent")[1] == []


def test_a_message_is_taken_at_the_goodbye_if_the_caller_has_added_to_it() -> None:
    lines = ["My boiler is broken.", "Ada", "yes", "It is urgent", "bye"]

    text, calls = answer_with_tools(*lines)

    assert "I have noted: your call is about this: your boiler is broken" in text
    assert [call.name for call in calls] == ["take_message", "end_call"]
    assert calls[0].arguments == (
        '{"name":"Ada","number":null,"reason":"My boiler is broken; It is urgent"}'
    )
    assert [call.name for call in answer_with_tools(*lines[:3], "no, thanks, bye")[1]] == [
        "end_call"
    ]


def test_a_corrected_name_replaces_the_name_in_the_message() -> None:
    text, calls = answer_with_tools("My boiler is broken.", "Ada", "no, my name is Ida")

    assert text.startswith("I have changed the name to Ida. I will pass that on")
    assert calls[0].arguments == '{"name":"Ida","number":null,"reason":"My boiler is broken"}'


def test_a_goodbye_ends_the_call() -> None:
    text, calls = answer_with_tools(
        "My boiler is broken.", "Ada", "yes", "no, that is all, thank you"
    )

    assert text.endswith("Goodbye.")
    assert calls == [ToolCall("end_call", "{}")]


@pytest.mark.parametrize(
    "lines", [["Put me through to sales."], ["I am lost", "Ada", "yes"], ["bye"], ["A person!"]]
)
def test_only_available_tools_are_called(lines: list[str]) -> None:
    text, calls = answer_with_tools(*lines, profile=replace(PROFILE_WITH_TOOLS, tools=()))

    assert calls == []
    assert text


def test_every_tool_call_of_the_scripted_model_is_valid() -> None:
    for line in ("Put me through to sales.", "A person, talk to me!", "bye"):
        for call in answer_with_tools(line)[1]:
            assert not isinstance(tools.validate_call(call, PROFILE_WITH_TOOLS), str)


def test_words_are_counted_as_tokens() -> None:
    request = make_request("Hello there!", system="Be kind and brief.")

    assert read_stream(ScriptedModel().stream(request))[1] == Tokens(4 + 2, 5)


# --- Questions that the script answers -------------------------------------------------------

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
    assert ask(line)[0].startswith("I see: ")


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


def test_without_the_tool_nobody_is_offered() -> None:
    profile = replace(PROFILE_WITH_TOOLS, tools=("take_message",))

    for line in ("Who can I talk to?", "Put me through to sales.", "Can I speak to a human?"):
        assert ask(line, profile=profile) == (
            "I cannot connect calls. What else can I do for you?",
            [],
        )


def test_an_unknown_question_is_answered_with_what_the_script_can_do() -> None:
    text, calls = ask("What does a crown cost?")

    assert text == (
        "I am a scripted model and cannot answer that. I can tell you our opening hours, connect "
        "you with sales or sales abroad, and take a message. What else can I do for you?"
    )
    assert calls == []


@pytest.mark.parametrize("line", ["Who are you?", "Are you a robot?", "Am I talking to an AI?"])
def test_the_script_says_what_it_is(line: str) -> None:
    assert ask(line)[0].startswith("I am VCA's scripted model. I follow a fixed script")


@pytest.mark.parametrize(
    "line", ["Can you take a message?", "I'd like to leave a message", "What is 1 + 1?|yes"]
)
def test_a_message_asks_for_reason_and_name(line: str) -> None:
    lines = [*line.split("|"), "My tooth hurts", "Jane Doe", "yes"]
    replies = [ask(*lines[: count + 1]) for count in range(len(lines))]

    assert replies[-4][0] == "Of course. What is your call about?"
    assert replies[-3][0] == "I see: your tooth hurts. May I have your name, please?"
    assert "somebody will call you back" in replies[-1][0]
    assert [calls for _, calls in replies[-4:]] == [[], [], [], ["take_message"]]


def test_a_request_is_a_reason_for_the_call() -> None:
    text, _ = ask("Could I get an appointment on Tuesday?")

    assert text == (
        "I see: you would like to get an appointment on Tuesday. May I have your name, please?"
    )


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
