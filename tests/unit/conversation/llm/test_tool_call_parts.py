"""Assembling tool calls from every shape in which servers stream them."""

from typing import Any

import pytest

from vca.conversation.llm import MAX_ARGUMENTS_CHARS, ToolCall
from vca.conversation.llm.tool_call_parts import MAX_CALLS, ToolCallAssembler

SALES = '{"target":"sales"}'
FRONT = '{"target":"front"}'
TRANSFER = ToolCall("transfer", SALES)
TRANSFER_TO_DESK = ToolCall("transfer", FRONT)
END_CALL = ToolCall("end_call", "{}")


def part(name: Any = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    return {**fields, "type": "function", "function": {"name": name, "arguments": arguments}}


def assemble(*events: object) -> list[ToolCall]:
    assembler = ToolCallAssembler()
    for parts in events:
        assembler.add_parts(parts)
    return list(assembler.calls())


SHAPES: dict[str, tuple[list[object], list[ToolCall]]] = {
    "pieces": (
        [
            [part("transfer", "", index=0, id="a")],
            [part(None, SALES[:9], index=0)],
            [part("", SALES[9:], index=0)],
        ],
        [TRANSFER],
    ),
    "another id with every piece": (
        [
            [part("transfer", "", index=0, id="a1")],
            [part(None, SALES[:9], index=0, id="a2")],
            [part(None, SALES[9:], index=0, id="a3")],
        ],
        [TRANSFER],
    ),
    "the name and another id with every piece": (
        [
            [part("transfer", SALES[:9], index=0, id="a1")],
            [part("transfer", SALES[9:], index=0, id="a2")],
        ],
        [TRANSFER],
    ),
    "two calls without index and id in one event": (
        [[part("transfer", SALES), part("end_call", "{}")]],
        [TRANSFER, END_CALL],
    ),
    "two calls with index 0 and an empty id": (
        [[part("transfer", SALES, index=0, id=""), part("transfer", FRONT, index=0, id="")]],
        [TRANSFER, TRANSFER_TO_DESK],
    ),
    "two calls with index 0 and ids": (
        [
            [part("transfer", "", index=0, id="a")],
            [part(None, SALES, index=0, id="")],
            [part("transfer", "", index=0, id="b")],
            [part(None, FRONT, index=0, id="")],
        ],
        [TRANSFER, TRANSFER_TO_DESK],
    ),
    "the second call without arguments": (
        [[part("transfer", SALES, index=0)], [part("end_call", "", index=0)]],
        [TRANSFER, ToolCall("end_call", "")],
    ),
    "the first call without arguments": (
        [[part("end_call", "", index=0)], [part("transfer", SALES, index=0)]],
        [ToolCall("end_call", ""), TRANSFER],
    ),
    "the name for the first of two calls only": (
        [
            [part("transfer", "", index=0, id="a")],
            [part("", SALES, index=0)],
            [part("", FRONT, index=0)],
        ],
        [TRANSFER, TRANSFER_TO_DESK],
    ),
    "pieces of two calls in turn": (
        [
            [part("transfer", SALES[:9], index=0, id="a")],
            [part("transfer", FRONT[:9], index=1, id="b")],
            [part(None, SALES[9:], index=0)],
            [part(None, FRONT[9:], index=1)],
        ],
        [TRANSFER, TRANSFER_TO_DESK],
    ),
    "pieces of two calls in turn that only ids tell apart": (
        [
            [part("transfer", SALES[:9], id="a")],
            [part("end_call", "", id="b")],
            [part(None, SALES[9:], id="a")],
            [part(None, "{}", id="b")],
        ],
        [TRANSFER, END_CALL],
    ),
    "a piece with another index and no name": (
        [[part("transfer", SALES[:9], index=0)], [part(None, SALES[9:], index=3)]],
        [TRANSFER],
    ),
    "an index that is a text": (
        [[part("transfer", SALES[:9], index="0")], [part(None, SALES[9:], index="0")]],
        [TRANSFER],
    ),
    "arguments as an object": ([[part("transfer", {"target": "sales"})]], [TRANSFER]),
    "an empty object as a placeholder": (
        [[part("transfer", {}, index=0, id="a")], [part(None, SALES, index=0)]],
        [TRANSFER],
    ),
    "the whole call once more": (
        [[part("transfer", SALES, index=0, id="a")], [part("transfer", SALES, index=0, id="a")]],
        [TRANSFER],
    ),
    "empty parts": (
        [[part("transfer", SALES, index=0)], [part("", "", index=1)], [{}], [{"index": 2}]],
        [TRANSFER],
    ),
    "parts of another shape": (
        [5, None, [5, None, [], "x"], [{"function": 5}], [part(5, None, index=[1])], [part("a")]],
        [ToolCall("a", "")],
    ),
    "one part that is not in a list": ([part("transfer", SALES)], [TRANSFER]),
    "the older form of a single function": (
        [{"name": "transfer", "arguments": SALES[:9]}, {"arguments": SALES[9:]}],
        [TRANSFER],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_of_tool_calls_is_assembled(shape: str) -> None:
    events, calls = SHAPES[shape]

    assert assemble(*events) == calls


def test_only_calls_with_complete_arguments_survive_a_failure() -> None:
    assembler = ToolCallAssembler()
    assembler.add_parts([part("transfer", SALES, index=0), part("end_call", "{", index=1)])

    assert list(assembler.calls(only_complete=True)) == [TRANSFER]


def test_calls_and_their_arguments_are_bounded() -> None:
    calls = assemble(*([part("end_call", "{}", index=number)] for number in range(500)))
    (long_call,) = assemble(*([part("x" * 10_000, "x" * 10_000, index=0)] for _ in range(50)))

    assert calls == [END_CALL] * MAX_CALLS
    assert (len(long_call.name), len(long_call.arguments)) == (100, MAX_ARGUMENTS_CHARS)
