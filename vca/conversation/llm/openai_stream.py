"""Assemble the stream of an OpenAI-compatible endpoint: text, tool calls and token usage.

Events are read as plain JSON. The SDK's objects check no more and take most of the time that we
spend on an answer. An event of an unexpected shape raises TypeError, ValueError, AttributeError or
LookupError; `openai_http` translates these.
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
    """A tool call whose arguments are still arriving."""

    call_id: str | None
    name: str = ""
    arguments: str = ""

    def add(self, name: str | None, arguments: str | None) -> None:
        # Most servers send the name once, some repeat it with every part.
        self.name = self.name or (name or "")[:_MAX_NAME_CHARS]
        self.arguments = (self.arguments + (arguments or ""))[:MAX_ARGUMENTS_CHARS]


class StreamedAnswer:
    """Collects one answer while its events arrive."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self._drafts: dict[int, list[_PartialToolCall]] = {}
        self._has_text = False

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a tool call nor a character that is not white space."""
        return not (self._has_text or self._drafts)

    def add_event(self, event: Any) -> str:
        """Return the text of the next event, empty if it carries something else.

        Raises ModelError if the content filter withheld the answer.
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
            raise TypeError("the text of an event is not a string")
        self._has_text = self._has_text or bool(text.strip())
        return text

    def tool_calls(self) -> Iterator[ToolCall]:
        """Yield the complete tool calls; call it after the last event."""
        for drafts in self._drafts.values():
            for draft in drafts:
                yield ToolCall(draft.name, draft.arguments)

    def _add_tool_call_part(self, tool_call_part: Any) -> None:
        # Some servers send no index, or 0 for every call; only the ids differ.
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
    """Return the token usage that the endpoint reports, or None if it is not plausible."""
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if not all(type(count) is int and 0 <= count < 1_000_000_000 for count in counts):
        return None
    return Tokens(*counts)
