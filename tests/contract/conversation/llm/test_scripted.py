"""The scripted model: the contract of model clients, and a conversation for each role."""

from dataclasses import replace

import pytest

from tests.contract.suites.llm import ModelContract, make_request, read_stream, read_text
from vca.conversation import tools
from vca.conversation.llm import ModelError, ModelRequest, ToolCall
from vca.conversation.types import Message, Profile, Role, Tokens
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


@pytest.mark.parametrize("line", ["How do I spell goodbye?", "My name is Joe Bye"])
def test_a_goodbye_within_a_sentence_does_not_end_the_call(line: str) -> None:
    text, calls = answer_with_tools("My boiler is broken.", line)

    assert "Goodbye." not in text
    assert calls == []


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
