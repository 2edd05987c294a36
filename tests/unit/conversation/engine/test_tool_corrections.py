"""Refused tool calls go back to the model once, and the caller learns what did not work."""

from dataclasses import replace

import pytest

from tests.fakes.models import SequenceModel, StepModel, hanging_step
from tests.unit.conversation.engine.engine_calls import PROFILE, generate_reply
from vca.conversation.llm import ModelError, ToolCall
from vca.conversation.llm.models import LatencyPolicy
from vca.conversation.types import (
    Message,
    RefusedTool,
    TakeMessage,
    Tokens,
    ToolResult,
    Transfer,
)
from vca.kit import deadline

PROFILE_WITH_TOOLS = replace(
    PROFILE,
    tools=("end_call", "transfer", "take_message"),
    transfer_targets={"sales": "Orders", "front desk": ""},
)
NOT_DONE = "I am sorry, that did not work."
BAD_TRANSFER = ToolCall("transfer", '{"target": "sale"}', "id-1")
GOOD_TRANSFER = ToolCall("transfer", '{"target": "sales"}', "id-2")
BAD_MESSAGE = ToolCall("take_message", "{}", "id-3")
GOOD_MESSAGE = ToolCall("take_message", '{"reason": "Call me."}', "id-4")
REFUSED_TRANSFER = RefusedTool("transfer", "unknown_target")


def test_a_refused_call_is_corrected_in_a_second_answer() -> None:
    model = SequenceModel(["One moment.", BAD_TRANSFER], [GOOD_TRANSFER], tokens=Tokens(10, 2))

    reply = generate_reply("Sales", model=model, profile=PROFILE_WITH_TOOLS)

    assert reply.actions == (Transfer("sales"),)
    assert reply.text == "One moment."
    assert reply.refused_tools == (REFUSED_TRANSFER,)
    assert reply.tokens == Tokens(20, 4)
    assert reply.is_silent is False


def test_the_second_request_has_the_calls_and_their_results() -> None:
    model = SequenceModel(["I have noted it. ", GOOD_MESSAGE, BAD_TRANSFER], ["Which one?"])

    reply = generate_reply("Sales", model=model, profile=PROFILE_WITH_TOOLS)

    first, second = model.requests
    assert second.messages == (
        *first.messages,
        Message("agent", "I have noted it.", (GOOD_MESSAGE, BAD_TRANSFER)),
        ToolResult("id-4", "take_message", "Accepted. It is done at the end of your answer."),
        ToolResult(
            "id-1",
            "transfer",
            "Nothing was done: the target must be exactly one of these: sales, front desk.",
        ),
    )
    assert (second.system, second.tools) == (first.system, first.tools)
    assert reply.text == "I have noted it. Which one?"
    assert reply.actions == (TakeMessage(None, None, "Call me."),)


@pytest.mark.parametrize(
    ("arguments", "echoed_arguments"),
    [("{", "{}"), ('{"name": "A"}', '{"name": "A"}'), ("[]", "{}"), ("", "{}")],
)
def test_arguments_that_are_not_json_are_not_sent_to_the_server_again(
    arguments: str, echoed_arguments: str
) -> None:
    model = SequenceModel([ToolCall("take_message", arguments)], ["What is it about?"])

    generate_reply("Note it", model=model, profile=PROFILE_WITH_TOOLS)

    (*_, answer, _) = model.requests[1].messages
    assert isinstance(answer, Message)
    assert [call.arguments for call in answer.tool_calls] == [echoed_arguments]


def test_calls_without_ids_get_unique_ones() -> None:
    calls = [replace(BAD_TRANSFER, call_id=call_id) for call_id in (None, "x", "x", "")]
    model = SequenceModel(calls[:3], ["Whom do you want?"])

    generate_reply("Sales", model=model, profile=PROFILE_WITH_TOOLS)

    *_, answer, first, second, third = model.requests[1].messages
    assert isinstance(answer, Message)
    ids = [call.call_id for call in answer.tool_calls]
    assert ids == ["call00001", "x", "call00003"]
    assert [result.call_id for result in (first, second, third)] == ids  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        # The second answer's words follow the first one's.
        ([["I note it.", BAD_MESSAGE], ["What is it about?"]], "I note it. What is it about?"),
        # It fails again, with words or without, and in another way.
        ([["I note it.", BAD_MESSAGE], [BAD_MESSAGE]], f"I note it. {NOT_DONE}"),
        ([[BAD_TRANSFER], ["I connect you.", BAD_TRANSFER]], f"I connect you. {NOT_DONE}"),
        ([[BAD_TRANSFER], [ToolCall("dial", "{}")]], NOT_DONE),
        # There is no second answer.
        ([["I note it.", BAD_MESSAGE], []], f"I note it. {NOT_DONE}"),
        ([["I note it.", BAD_MESSAGE], [" "]], f"I note it. {NOT_DONE}"),
        (
            [["I note it.", BAD_MESSAGE], [ModelError("Away.", failure="unavailable")]],
            f"I note it. {NOT_DONE}",
        ),
    ],
)
def test_the_caller_learns_what_did_not_work(
    answers: list[list[str | ToolCall]], text: str
) -> None:
    model = SequenceModel(*answers)

    reply = generate_reply("Please", model=model, profile=PROFILE_WITH_TOOLS)

    assert (reply.text, reply.actions) == (text, ())
    assert len(model.requests) == 2


def test_a_call_goes_back_only_once() -> None:
    model = SequenceModel([BAD_TRANSFER], [BAD_TRANSFER], [GOOD_TRANSFER])

    reply = generate_reply("Sales", model=model, profile=PROFILE_WITH_TOOLS)

    assert len(model.requests) == 2
    assert reply.actions == ()
    assert reply.refused_tools == (REFUSED_TRANSFER, REFUSED_TRANSFER)


@pytest.mark.parametrize(
    "calls",
    [
        [GOOD_TRANSFER],
        [GOOD_MESSAGE, GOOD_MESSAGE],
        # The transfer is decided: there is nothing to correct.
        [GOOD_TRANSFER, ToolCall("transfer", '{"target": "front desk"}')],
        [GOOD_TRANSFER, BAD_TRANSFER],
        [BAD_TRANSFER, GOOD_TRANSFER],
        [BAD_TRANSFER] * 4,
    ],
)
def test_no_second_answer_is_requested_if_none_can_help(calls: list[ToolCall]) -> None:
    model = StepModel("One moment.", *calls)

    generate_reply("Sales", model=model, profile=PROFILE_WITH_TOOLS)

    assert len(model.requests) == 1


def test_a_message_is_corrected_beside_a_transfer() -> None:
    model = SequenceModel([GOOD_TRANSFER, BAD_MESSAGE], [GOOD_MESSAGE])

    reply = generate_reply("Sales", model=model, profile=PROFILE_WITH_TOOLS)

    assert reply.actions == (TakeMessage(None, None, "Call me."), Transfer("sales"))
    assert (reply.text, reply.is_silent) == ("", True)


@pytest.mark.parametrize("whole_s", [1.4, 0.5])
def test_no_second_answer_is_requested_shortly_before_the_turns_deadline(whole_s: float) -> None:
    model = SequenceModel(["I note it.", BAD_MESSAGE], ["What is it about?"])

    reply = generate_reply(
        "Note it",
        model=model,
        profile=PROFILE_WITH_TOOLS,
        latency_policy=LatencyPolicy(whole_s=whole_s),
    )

    assert len(model.requests) == 1
    assert reply.text == f"I note it. {NOT_DONE}"


def test_the_deadline_of_the_request_counts_too() -> None:
    model = SequenceModel([BAD_MESSAGE], ["What is it about?"])

    with deadline.within(1.4):
        reply = generate_reply("Note it", model=model, profile=PROFILE_WITH_TOOLS)

    assert len(model.requests) == 1
    assert reply.text == NOT_DONE


def test_both_answers_share_the_time_of_the_turn() -> None:
    model = SequenceModel(["I note it.", BAD_MESSAGE], [hanging_step(), "What is it about?"])

    reply = generate_reply(
        "Note it",
        model=model,
        profile=PROFILE_WITH_TOOLS,
        latency_policy=LatencyPolicy(first_s=60, stall_s=60, whole_s=1.6),
    )

    assert len(model.requests) == 2
    assert reply.text == f"I note it. {NOT_DONE}"


def test_the_fallback_model_does_not_repeat_earlier_actions() -> None:
    model = SequenceModel([GOOD_MESSAGE, BAD_TRANSFER], [GOOD_TRANSFER])

    reply = generate_reply("Sales", model=model, profile=PROFILE_WITH_TOOLS)

    assert reply.actions == (TakeMessage(None, None, "Call me."), Transfer("sales"))
