"""The actions of a reply, which the model requests by tool calls."""

from dataclasses import replace

import pytest

from tests.fakes.models import StepModel
from tests.unit.conversation.engine.engine_calls import PROFILE, generate_reply
from vca.conversation.llm import ToolCall
from vca.conversation.types import HangUp, TakeMessage, Transfer, TransferToFallback

PROFILE_WITH_TOOLS = replace(
    PROFILE,
    tools=("end_call", "transfer", "take_message", "fallback"),
    transfer_targets={"sales": "Orders", "front desk": ""},
)
END_CALL = ToolCall("end_call", "{}")
TRANSFER_TO_SALES = ToolCall("transfer", '{"target": "sales"}')
TAKE_MESSAGE = ToolCall(
    "take_message", '{"name": "Ada", "number": "+49 30 1", "reason": "Call me."}'
)
MESSAGE = TakeMessage("Ada", "+49 30 1", "Call me.")


def test_only_allowed_tools_are_available() -> None:
    model = StepModel("Yes.")

    generate_reply("Hi", model=model)
    generate_reply(
        "Hi", model=model, profile=replace(PROFILE_WITH_TOOLS, tools=("transfer", "end_call"))
    )
    generate_reply("Hi", model=model, profile=replace(PROFILE_WITH_TOOLS, transfer_targets={}))

    offered_names = [[tool.name for tool in request.tools] for request in model.requests]
    assert offered_names == [
        [],
        ["end_call", "transfer"],
        ["end_call", "take_message", "fallback"],
    ]


def test_an_answer_may_contain_text_and_tool_calls() -> None:
    reply = generate_reply(
        "Sales, please",
        model=StepModel("I put ", "you through.", TRANSFER_TO_SALES),
        profile=PROFILE_WITH_TOOLS,
    )

    assert reply.text == "I put you through."
    assert reply.actions == (Transfer("sales"),)
    assert reply.refusals == ()


CONNECTING_TEXT = "One moment, I am connecting you."
THANKS_TEXT = "Thank you, I have noted that."


@pytest.mark.parametrize(
    ("calls", "text", "actions"),
    [
        ((END_CALL,), "Thank you for calling. Goodbye.", (HangUp("agent_hangup"),)),
        ((ToolCall("end_call", ""),), "Thank you for calling. Goodbye.", (HangUp("agent_hangup"),)),
        ((TRANSFER_TO_SALES,), CONNECTING_TEXT, (Transfer("sales"),)),
        ((ToolCall("fallback", "{}"),), CONNECTING_TEXT, (TransferToFallback(),)),
        ((TAKE_MESSAGE,), f"{THANKS_TEXT} Is there anything else I can do for you?", (MESSAGE,)),
        (
            (END_CALL, TAKE_MESSAGE),
            f"{THANKS_TEXT} Thank you for calling. Goodbye.",
            (MESSAGE, HangUp("agent_hangup")),
        ),
        (
            (TAKE_MESSAGE, TRANSFER_TO_SALES),
            f"{THANKS_TEXT} {CONNECTING_TEXT}",
            (MESSAGE, Transfer("sales")),
        ),
    ],
)
def test_an_answer_of_only_tool_calls_gets_a_phrase(
    calls: tuple[ToolCall, ...], text: str, actions: tuple[object, ...]
) -> None:
    reply = generate_reply("Do it", model=StepModel(*calls), profile=PROFILE_WITH_TOOLS)

    assert (reply.text, reply.actions) == (text, actions)


def test_the_phrase_for_a_tool_call_is_in_the_profiles_language() -> None:
    german = replace(PROFILE_WITH_TOOLS, language="de-DE")

    assert generate_reply("Los", model=StepModel(TRANSFER_TO_SALES), profile=german).text == (
        "Einen Moment, ich verbinde Sie."
    )


def test_a_rejected_tool_call_is_recorded_and_the_text_is_spoken() -> None:
    reply = generate_reply(
        "Sales, please", model=StepModel("I put you through.", TRANSFER_TO_SALES)
    )

    assert reply.text == "I put you through."
    assert reply.actions == ()
    assert reply.refusals == ("not_allowed",)
