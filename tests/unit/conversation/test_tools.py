"""What a model's tool call comes to."""

import pytest
from jsonschema import Draft202012Validator

from vca.conversation import tools
from vca.conversation.llm import ToolCall
from vca.conversation.tools import ToolCallCollector
from vca.conversation.types import (
    Action,
    HangUp,
    Profile,
    TakeMessage,
    Transfer,
    TransferToFallback,
)
from vca.tenant.ai_profiles.models import TOOLS

ALL = Profile(
    "Ada",
    "receptionist",
    "Hi.",
    tools=tuple(tools.TOOLS),
    transfer_targets={"sales": "Orders\nand <prices>", "front desk": ""},
)
END = ToolCall("end_call", "{}")
SALES = ToolCall("transfer", '{"target": "sales"}')
DESK = ToolCall("transfer", '{"target": "front desk"}')


def message(reason: str, *, name: str = '"Ada"', number: str = "null") -> ToolCall:
    arguments = f'{{"name": {name}, "number": {number}, "reason": "{reason}"}}'
    return ToolCall("take_message", arguments)


def taken(*calls: ToolCall) -> ToolCallCollector:
    made = ToolCallCollector(ALL)
    for call in calls:
        made.add_call(call)
    return made


def test_every_tool_that_a_profile_may_allow_is_one() -> None:
    assert set(tools.TOOLS) == set(TOOLS)


def test_what_is_offered_has_schemas_and_says_what_it_is_for() -> None:
    for spec in tools.available_tools(ALL):
        Draft202012Validator.check_schema(spec.parameters)
        assert spec.description
        assert spec.parameters["additionalProperties"] is False


def test_targets_are_offered_by_name_with_what_they_are_for() -> None:
    (spec,) = [spec for spec in tools.available_tools(ALL) if spec.name == "transfer"]

    target = spec.parameters["properties"]["target"]
    assert target["enum"] == ["sales", "front desk"]
    assert "sales: Orders and <prices>; front desk" in target["description"]


@pytest.mark.parametrize(
    ("call", "action"),
    [
        (END, HangUp("agent_hangup")),
        (ToolCall("end_call", " "), HangUp("agent_hangup")),
        (SALES, Transfer("sales")),
        (ToolCall("fallback", "{}"), TransferToFallback()),
        (message("Call me."), TakeMessage("Ada", None, "Call me.")),
        (message("Call me.", name="null"), TakeMessage(None, None, "Call me.")),
        (message(r"Call\n\tme.", name=r'" A\u200bda "'), TakeMessage("Ada", None, "Call me.")),
        (message("R", number='"+49 (30) 1-2.3/4"'), TakeMessage("Ada", "+49 (30) 1-2.3/4", "R")),
        (message("R", number='"<script>"'), TakeMessage("Ada", None, "R")),
        (message("R", number='"the same"'), TakeMessage("Ada", None, "R")),
    ],
)
def test_a_good_call_becomes_its_action(call: ToolCall, action: Action) -> None:
    assert tools.validate_call(call, ALL) == action


def test_messages_come_first_and_one_last_thing_is_done() -> None:
    made = taken(SALES, message("One."), DESK, END, message("Two."))

    assert made.actions == (
        TakeMessage("Ada", None, "One."),
        TakeMessage("Ada", None, "Two."),
        Transfer("sales"),
    )
    assert made.refusals == ("too_many", "too_many")


def test_the_same_message_is_kept_once() -> None:
    made = taken(message("One."), message("One."))

    assert made.actions == (TakeMessage("Ada", None, "One."),)
    assert made.refusals == ("too_many",)


def test_who_calls_too_much_is_full() -> None:
    assert not taken(END, message("One.")).is_full
    assert taken(*[message(f"{number}") for number in range(tools.MAX_MESSAGES)]).is_full
    assert taken(*[ToolCall("dial", "{}")] * tools.MAX_REFUSALS).is_full
