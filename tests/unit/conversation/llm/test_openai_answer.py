"""Assembling an answer: nothing that a server may send makes it fail."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vca.conversation.llm.openai_answer import AnswerAssembler

NAMES = st.sampled_from(
    [
        *("choices", "delta", "message", "content", "refusal", "reasoning", "finish_reason"),
        *("tool_calls", "function_call", "function", "index", "id", "name", "arguments", "type"),
        *("text", "usage", "prompt_tokens", "completion_tokens", "x_groq", "error", "object"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "0", "stop", "error", "thinking", "{}", '{"a":', "}", "end_call"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None)
@given(
    deltas=st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=4),
    others=st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=4),
)
def test_events_of_any_shape_are_read_without_an_exception(
    deltas: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    answer = AnswerAssembler()
    events = [{"choices": [{"delta": delta}]} for delta in deltas]

    text = answer.add_events([*events, *others])

    assert isinstance(text, str)
    for call in [*answer.tool_calls.calls(), *answer.tool_calls.calls(only_complete=True)]:
        assert isinstance(call.name, str)
        assert isinstance(call.arguments, str)
    assert answer.finish_reason
