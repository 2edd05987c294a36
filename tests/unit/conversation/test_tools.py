"""Validation of a model's tool calls, and the actions that result from them."""

import pytest
from jsonschema import Draft202012Validator

from vca.conversation import tools
from vca.conversation.llm import ToolCall
from vca.conversation.tools import ToolCallCollector
from vca.conversation.types import (
    Action,
    HangUp,
    Profile,
    RefusedTool,
    TakeMessage,
    Transfer,
    TransferToFallback,
)
from vca.tenant.ai_profiles.models import TOOLS

PROFILE = Profile(
    "Ada",
    "receptionist",
    "Hi.",
    tools=tuple(tools.TOOLS),
    transfer_targets={"sales": "Orders\nand <prices>", "front desk": ""},
)
END_CALL = ToolCall("end_call", "{}")
TRANSFER_TO_SALES = ToolCall("transfer", '{"target": "sales"}')
TRANSFER_TO_FRONT_DESK = ToolCall("transfer", '{"target": "front desk"}')


def take_message(reason: str, *, name: str = '"Ada"', number: str = "null") -> ToolCall:
    arguments = f'{{"name": {name}, "number": {number}, "reason": "{reason}"}}'
    return ToolCall("take_message", arguments)


def collect(*calls: ToolCall) -> ToolCallCollector:
    collector = ToolCallCollector(PROFILE)
    for call in calls:
        collector.add_call(call)
    return collector


def test_the_profile_model_allows_exactly_the_existing_tools() -> None:
    assert set(tools.TOOLS) == set(TOOLS)


def test_available_tools_have_valid_schemas_and_descriptions() -> None:
    for spec in tools.available_tools(PROFILE):
        Draft202012Validator.check_schema(spec.parameters)
        assert spec.description
        assert spec.parameters["additionalProperties"] is False


def test_the_transfer_tool_lists_targets_with_their_descriptions() -> None:
    (spec,) = [spec for spec in tools.available_tools(PROFILE) if spec.name == "transfer"]

    target = spec.parameters["properties"]["target"]
    assert target["enum"] == ["sales", "front desk"]
    assert "sales: Orders and <prices>; front desk" in target["description"]


@pytest.mark.parametrize(
    ("call", "action"),
    [
        (END_CALL, HangUp("agent_hangup")),
        (ToolCall("end_call", " "), HangUp("agent_hangup")),
        (TRANSFER_TO_SALES, Transfer("sales")),
        (ToolCall("fallback", "{}"), TransferToFallback()),
        (take_message("Call me."), TakeMessage("Ada", None, "Call me.")),
        (take_message("Call me.", name="null"), TakeMessage(None, None, "Call me.")),
        (take_message(r"Call\n\tme.", name=r'" A\u200bda "'), TakeMessage("Ada", None, "Call me.")),
        (
            take_message("R", number='"+49 (30) 1-2.3/4"'),
            TakeMessage("Ada", "+49 (30) 1-2.3/4", "R"),
        ),
        (take_message("R", number='"<script>"'), TakeMessage("Ada", None, "R")),
        (take_message("R", number='"the same"'), TakeMessage("Ada", None, "R")),
    ],
)
def test_a_valid_call_becomes_its_action(call: ToolCall, action: Action) -> None:
    assert tools.validate_call(call, PROFILE) == action


def test_messages_come_first_and_only_one_other_action_is_accepted() -> None:
    collector = collect(
        TRANSFER_TO_SALES,
        take_message("One."),
        TRANSFER_TO_FRONT_DESK,
        END_CALL,
        take_message("Two."),
    )

    assert collector.actions == (
        TakeMessage("Ada", None, "One."),
        TakeMessage("Ada", None, "Two."),
        Transfer("sales"),
    )
    assert collector.refused_tools == (
        RefusedTool("transfer", "too_many"),
        RefusedTool("end_call", "too_many"),
    )


def test_the_same_message_is_accepted_once() -> None:
    collector = collect(take_message("One."), take_message("One."))

    assert collector.actions == (TakeMessage("Ada", None, "One."),)
    assert collector.refused_tools == (RefusedTool("take_message", "too_many"),)


def test_a_collector_is_full_after_too_many_messages_or_refusals() -> None:
    assert not collect(END_CALL, take_message("One.")).is_full
    assert collect(*[take_message(f"{number}") for number in range(tools.MAX_MESSAGES)]).is_full
    assert collect(*[ToolCall("dial", "{}")] * tools.MAX_REFUSALS).is_full
