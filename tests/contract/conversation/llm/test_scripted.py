"""The offline model: the contract, and a conversation per role."""

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
    """The replies to each of the caller's lines in turn."""
    profile = Profile("Ada", role, prompt)
    return [build_reply(profile, list(lines[: count + 1])) for count in range(len(lines))]


def test_the_receptionist_asks_for_reason_and_name_and_repeats_both() -> None:
    first, second, third = talk("receptionist", "My boiler is broken.", "ada lovelace", "yes")

    assert first == "I see: your boiler is broken. May I have your name, please?"
    assert second.startswith("Thank you, Ada Lovelace. Let me repeat:")
    assert "your boiler is broken" in second
    assert second.endswith("Is that right?")
    assert "somebody will call you back" in third


def test_a_caller_who_introduces_himself_is_not_asked_for_his_name() -> None:
    (reply,) = talk("receptionist", "Hi, this is Grace Hopper, I'd like to see a doctor.")

    assert reply.startswith("Hello, Grace Hopper. I see: you would like to see a doctor.")
    assert "May I have your name" not in reply


def test_an_answer_that_is_no_name_is_noted_and_the_name_is_asked_for_once_more() -> None:
    lines = ("My boiler is broken.", "I would like an appointment", "It's Jane", "yes")
    _, second, third, _ = talk("receptionist", *lines)

    assert second == (
        "I have noted this: you would like an appointment. May I have your name, please?"
    )
    assert third.startswith("Thank you, Jane. Let me repeat: your call is about this:")
    assert "also: you would like an appointment" in third
    insisting = talk("receptionist", "Help.", "What do you need it for?", "Why do you ask?")
    assert insisting[2].startswith("Thank you, Why do you ask. Let me repeat")


def test_a_name_in_a_longer_answer_is_found() -> None:
    *_, reply = talk("receptionist", "Help.", "I am Jane, call me back please")

    assert reply.startswith("Thank you, Jane. Let me repeat")


def test_a_mere_hello_is_followed_by_the_roles_question() -> None:
    assert talk("receptionist", "Hello there!") == ["What is your call about?"]


def test_sales_asks_for_need_size_and_budget() -> None:
    replies = talk("sales", "We need chairs for our office", "40", "about 5000 dollars")

    assert replies[0].endswith("For how many people or pieces is it?")
    assert replies[1].endswith("And what budget do you have in mind?")
    assert all(
        told in replies[2] for told in ("chairs for your office", "40", "about 5000 dollars")
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


def test_a_custom_role_introduces_itself_as_its_prompt_says() -> None:
    prompt = "You are Bella, the voice of Trattoria Roma. Never mention the other one."

    first, second = talk("custom", "A table for two", "tomorrow", prompt=prompt)

    assert first.startswith("I am Bella, the voice of Trattoria Roma. I see: A table for two.")
    assert "other one" not in first
    assert "I am Bella" not in second


def test_a_correction_is_taken_at_once_or_asked_for() -> None:
    asked = talk("support", "The lamp", "nothing", "no", "it is the fan")
    at_once = talk("support", "The lamp", "nothing", "no, it is the fan")

    assert asked[2] == "Sorry. What should I change?"
    assert asked[3].startswith("I have changed it: it is the fan.")
    assert at_once[2] == asked[3]


@pytest.mark.parametrize("parting", ["Goodbye", "thanks, that's all", "ok bye", "Thank you!"])
def test_thanks_and_goodbye_are_answered_with_goodbye_and_what_was_noted(parting: str) -> None:
    replies = talk("receptionist", "My boiler is broken.", "Ada", "yes", parting)

    assert replies[-1].startswith("Thank you for calling, Ada. I have noted:")
    assert "your boiler is broken" in replies[-1]
    assert replies[-1].endswith("Goodbye.")


def test_it_remembers_from_the_transcript_alone() -> None:
    profile = Profile("Ada", "sales", "Sell.")
    request = make_request(
        "What are you looking for?", "chairs", "How many?", "40", profile=profile
    )

    assert read_text(ScriptedModel().stream(request)) == talk("sales", "chairs", "40")[-1]


def test_an_answer_of_any_length_is_told_back_short() -> None:
    (reply,) = talk("receptionist", "word " * 5000)

    assert len(reply) < 400
    assert "and so on" in reply


@pytest.mark.parametrize("messages", [(), (Message("agent", "Hello."),)])
def test_without_a_line_of_the_caller_there_is_nothing_to_answer(
    messages: tuple[Message, ...],
) -> None:
    request = ModelRequest(Profile("Ada", "sales", "Sell."), "Sell.", messages)

    with pytest.raises(ModelError) as caught:
        list(ScriptedModel().stream(request))

    assert caught.value.permanent


# --- Tools -----------------------------------------------------------------------------------

ABLE = Profile(
    "Ada",
    "receptionist",
    "We are Acme.",
    tools=tuple(tools.TOOLS),
    transfer_targets={"sales": "Orders", "sales abroad": "Orders from abroad"},
)


def pieces(*lines: str, profile: Profile = ABLE) -> tuple[str, list[ToolCall]]:
    """What is said to the last of a caller's lines, and the tools that are called then."""
    messages = tuple(Message("caller", line) for line in lines)
    request = ModelRequest(profile, "Hi.", messages, tools=tools.available_tools(profile))
    made, _ = read_stream(ScriptedModel().stream(request))
    text = "".join(piece for piece in made if isinstance(piece, str))
    return text, [piece for piece in made if isinstance(piece, ToolCall)]


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("Put me through to sales, please.", "sales"),
        ("I'd like to speak to Sales abroad", "sales abroad"),
        ("Can you connect me with the SALES?", "sales"),
    ],
)
def test_who_asks_for_a_target_is_transferred_to_it(line: str, target: str) -> None:
    text, calls = pieces("Hello", line)

    assert text == "One moment, I am connecting you."
    assert calls == [ToolCall("transfer", f'{{"target":"{target}"}}')]


@pytest.mark.parametrize(
    "line", ["I have a question about sales.", "Put me through to salesmen.", "Connect me!"]
)
def test_who_does_not_ask_for_a_target_is_not_transferred(line: str) -> None:
    assert pieces(line)[1] == []


def test_who_asks_for_a_person_is_sent_to_one() -> None:
    assert pieces("Can I talk to a person?")[1] == [ToolCall("fallback", "{}")]


def test_a_message_is_taken_once_the_caller_has_confirmed_it() -> None:
    lines = ["My boiler is broken.", "Ada", "yes"]

    assert [pieces(*lines[:count])[1] for count in (1, 2)] == [[], []]
    text, calls = pieces(*lines)
    assert "somebody will call you back" in text
    assert calls == [
        ToolCall("take_message", '{"name":"Ada","number":null,"reason":"your boiler is broken"}')
    ]
    assert pieces(*lines, "It is urgent")[1] == []


def test_a_goodbye_ends_the_call() -> None:
    text, calls = pieces("My boiler is broken.", "Ada", "yes", "no, that is all, thank you")

    assert text.endswith("Goodbye.")
    assert calls == [ToolCall("end_call", "{}")]


@pytest.mark.parametrize(
    "lines", [["Put me through to sales."], ["I am lost", "Ada", "yes"], ["bye"], ["A person!"]]
)
def test_nothing_is_called_that_is_not_offered(lines: list[str]) -> None:
    text, calls = pieces(*lines, profile=replace(ABLE, tools=()))

    assert calls == []
    assert text


def test_every_tool_that_it_calls_is_let_through() -> None:
    for line in ("Put me through to sales.", "A person, talk to me!", "bye"):
        for call in pieces(line)[1]:
            assert not isinstance(tools.validate_call(call, ABLE), str)


def test_it_counts_words_as_tokens() -> None:
    request = make_request("Hello there!", system="Be kind and brief.")

    assert read_stream(ScriptedModel().stream(request))[1] == Tokens(4 + 2, 5)
