"""The scripted model: the contract of model clients, and a conversation for each role."""

from dataclasses import replace

import pytest

from tests.contract.suites.llm import ModelContract, make_request, read_stream, read_text
from vca.conversation import tools
from vca.conversation.llm import ModelError, ModelRequest, ToolCall
from vca.conversation.types import Message, Profile, Role, Tokens
from vca.devtools.scripted_model.model import ScriptedModel
from vca.devtools.scripted_model.scripts import SCRIPTS


class TestContract(ModelContract):
    @pytest.fixture
    def model(self) -> ScriptedModel:
        return ScriptedModel()


def talk(role: Role, *lines: str, prompt: str = "You are Bella.") -> list[str]:
    """Return the reply to each of the caller's lines, in order."""
    profile = Profile("Ada", role, prompt)
    messages = [Message("caller", line) for line in lines]
    requests = [
        ModelRequest(profile, prompt, tuple(messages[: count + 1])) for count in range(len(lines))
    ]
    return [read_text(ScriptedModel().stream(request)) for request in requests]


def test_the_receptionist_asks_for_reason_and_name_and_repeats_the_reason() -> None:
    first, second = talk("receptionist", "My boiler is broken.", "It's Ada Lovelace.")

    assert first == "I see. May I have your name, please?"
    assert second == (
        "Thank you, Ada Lovelace. I have noted: My boiler is broken. I will pass that on, and "
        "somebody will call you back. Is there anything else?"
    )


def test_a_greeting_without_a_reason_gets_the_question_of_the_role() -> None:
    assert talk("receptionist", "Hello there!") == ["What is your call about?"]


@pytest.mark.parametrize("role", SCRIPTS)
def test_each_role_asks_its_questions_in_order(role: Role) -> None:
    script = SCRIPTS[role]

    replies = talk(role, "Hello", *("Something" for _ in script.questions))

    assert replies[0] == script.questions[0]
    for reply, question in zip(replies[1:], script.questions[1:], strict=False):
        assert reply.endswith(question)
    assert script.closing in replies[-1]


def test_a_line_after_the_last_question_is_added() -> None:
    replies = talk("support", "The lamp", "nothing", "It is the fan", "bye")

    assert replies[2] == "I have added that. Is there anything else?"
    assert "I have noted: The lamp; nothing; It is the fan." in replies[3]


@pytest.mark.parametrize("last_line", ["Goodbye", "thanks, that's all", "ok bye", "Thank you!"])
def test_a_goodbye_is_answered_with_a_summary_and_a_goodbye(last_line: str) -> None:
    replies = talk("receptionist", "My boiler is broken.", "Ada", last_line)

    assert replies[-1] == (
        "Thank you for calling, Ada. I have noted: My boiler is broken. Goodbye."
    )


@pytest.mark.parametrize("line", ["How do I spell goodbye?", "My name is Joe Bye"])
def test_a_goodbye_within_a_sentence_does_not_end_the_call(line: str) -> None:
    text, calls = answer_with_tools("My boiler is broken.", line)

    assert "Goodbye." not in text
    assert "end_call" not in [call.name for call in calls]


def test_the_reply_depends_only_on_the_transcript() -> None:
    profile = Profile("Ada", "sales", "Sell.")
    request = make_request(
        "What are you looking for?", "chairs", "How many?", "40", profile=profile
    )

    assert read_text(ScriptedModel().stream(request)) == talk("sales", "chairs", "40")[-1]


def test_a_long_answer_is_repeated_in_short_form() -> None:
    *_, reply = talk("support", "word " * 5000, "nothing")

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


def test_a_message_is_taken_once_the_last_question_is_answered() -> None:
    lines = ["My boiler is broken.", "Ada", "It is urgent"]

    assert answer_with_tools(*lines[:1])[1] == []
    text, calls = answer_with_tools(*lines[:2])
    assert "somebody will call you back" in text
    assert calls == [
        ToolCall("take_message", '{"name":"Ada","number":null,"reason":"My boiler is broken"}')
    ]
    assert answer_with_tools(*lines)[1] == []


def test_a_message_is_taken_at_the_goodbye_if_the_caller_has_added_to_it() -> None:
    lines = ["My boiler is broken.", "Ada", "It is urgent", "bye"]

    text, calls = answer_with_tools(*lines)

    assert "I have noted: My boiler is broken; It is urgent." in text
    assert [call.name for call in calls] == ["take_message", "end_call"]
    assert calls[0].arguments == (
        '{"name":"Ada","number":null,"reason":"My boiler is broken; It is urgent"}'
    )
    assert [call.name for call in answer_with_tools(*lines[:2], "no, thanks, bye")[1]] == [
        "end_call"
    ]


@pytest.mark.parametrize("last_line", ["no", "no, that is all, thank you"])
def test_a_goodbye_ends_the_call(last_line: str) -> None:
    text, calls = answer_with_tools("My boiler is broken.", "Ada", last_line)

    assert text.endswith("Goodbye.")
    assert calls == [ToolCall("end_call", "{}")]


@pytest.mark.parametrize(
    "lines", [["Put me through to sales."], ["I am lost", "Ada"], ["bye"], ["A person!"]]
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
