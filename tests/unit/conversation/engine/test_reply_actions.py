"""The actions of a reply, which the model requests by tool calls."""

from dataclasses import replace

import pytest

from tests.fakes.models import StepModel
from tests.unit.conversation.engine.engine_calls import PROFILE, generate_reply
from vca.conversation.llm import ToolCall
from vca.conversation.types import HangUp, RefusedTool, TakeMessage, Transfer, TransferToFallback

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
    assert reply.refused_tools == ()


@pytest.mark.parametrize(
    ("calls", "actions"),
    [
        ((END_CALL,), (HangUp("agent_hangup"),)),
        ((ToolCall("end_call", ""),), (HangUp("agent_hangup"),)),
        ((TRANSFER_TO_SALES,), (Transfer("sales"),)),
        ((ToolCall("fallback", "{}"),), (TransferToFallback(),)),
        ((TAKE_MESSAGE,), (MESSAGE,)),
        ((END_CALL, TAKE_MESSAGE), (MESSAGE, HangUp("agent_hangup"))),
        ((TAKE_MESSAGE, TRANSFER_TO_SALES), (MESSAGE, Transfer("sales"))),
    ],
)
def test_nothing_is_said_about_an_action_before_it_is_done(
    calls: tuple[ToolCall, ...], actions: tuple[object, ...]
) -> None:
    reply = generate_reply("Do it", model=StepModel(*calls), profile=PROFILE_WITH_TOOLS)

    assert (reply.text, reply.actions, reply.is_silent) == ("", actions, True)


def test_a_rejected_tool_call_is_recorded_and_the_text_is_spoken() -> None:
    reply = generate_reply(
        "Sales, please", model=StepModel("I put you through.", TRANSFER_TO_SALES)
    )

    assert reply.text == "I put you through. I put you through. I am sorry, that did not work."
    assert reply.actions == ()
    assert reply.refused_tools == (RefusedTool("transfer", "not_allowed"),) * 2
