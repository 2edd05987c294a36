"""What an OpenAI-compatible endpoint streams, put together: text, tool calls, and the price.

Chunks are read as the JSON that they are: the SDK's objects of them, which check no more, take
most of the time that an answer takes us. One that is not of the promised shape raises TypeError,
ValueError, AttributeError or LookupError; the wire says what that means.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vca.conversation.llm import MAX_ARGUMENTS_CHARS, ModelError, ToolCall
from vca.conversation.types import Tokens

MAX_CALLS = 32
_MAX_NAME_CHARS = 100


@dataclass
class _PartialToolCall:
    """A tool call whose arguments are still coming."""

    call_id: str | None
    name: str = ""
    arguments: str = ""

    def add(self, name: str | None, arguments: str | None) -> None:
        # Told once by most, again with every part by some.
        self.name = self.name or (name or "")[:_MAX_NAME_CHARS]
        self.arguments = (self.arguments + (arguments or ""))[:MAX_ARGUMENTS_CHARS]


class StreamedAnswer:
    """One answer as its chunks come."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self._drafts: dict[int, list[_PartialToolCall]] = {}
        self._has_text = False

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a tool call nor a character that is no white space."""
        return not (self._has_text or self._drafts)

    def add_event(self, event: Any) -> str:
        """The text of the next chunk, empty if it carries something else.

        Raises ModelError if the answer was withheld.
        """
        if (usage := event.get("usage")) is not None:
            self.tokens = _parse_usage(usage)
        if not (choices := event.get("choices")):
            return ""
        choice = choices[0]
        if choice.get("finish_reason") == "content_filter":
            detail = "The model's content filter withheld the answer."
            raise ModelError(detail, failure="refused", permanent=True)
        delta = choice["delta"]
        for tool_call_part in delta.get("tool_calls") or ():
            self._add_tool_call_part(tool_call_part)
        text = delta.get("content") or delta.get("refusal") or ""
        if not isinstance(text, str):
            raise TypeError("a piece of text is not a string")
        self._has_text = self._has_text or bool(text.strip())
        return text

    def tool_calls(self) -> Iterator[ToolCall]:
        """The tool calls, whole; to be asked for at the end."""
        for drafts in self._drafts.values():
            for draft in drafts:
                yield ToolCall(draft.name, draft.arguments)

    def _add_tool_call_part(self, tool_call_part: Any) -> None:
        # Some number no call, or all of them 0, and tell them apart by their ids only.
        index, call_id = tool_call_part.get("index") or 0, tool_call_part.get("id")
        drafts = self._drafts.get(index)
        is_new_call = bool(call_id) and drafts is not None and call_id != drafts[-1].call_id
        if drafts is None or is_new_call:
            if sum(map(len, self._drafts.values())) >= MAX_CALLS:
                return
            drafts = self._drafts.setdefault(index, [])
            drafts.append(_PartialToolCall(call_id))
        if (function := tool_call_part.get("function")) is not None:
            drafts[-1].add(function.get("name"), function.get("arguments"))


def _parse_usage(usage: Any) -> Tokens | None:
    """What the endpoint says it cost, None if that makes no sense."""
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if not all(type(count) is int and 0 <= count < 1_000_000_000 for count in counts):
        return None
    return Tokens(*counts)
