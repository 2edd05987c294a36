"""What an OpenAI-compatible endpoint streams, put together: text, tool calls, and the price.

A part that is not of the promised shape raises TypeError, ValueError or AttributeError; the wire
says what that means.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

from vca.conversation.llm import MAX_ARGUMENTS, ModelError, ToolCall
from vca.conversation.types import Tokens

MAX_CALLS = 32
_LONGEST_NAME = 100


@dataclass
class _Draft:
    """A tool call whose arguments are still coming."""

    call_id: str | None
    name: str = ""
    arguments: str = ""

    def add(self, name: str | None, arguments: str | None) -> None:
        # Told once by most, again with every part by some.
        self.name = self.name or (name or "")[:_LONGEST_NAME]
        self.arguments = (self.arguments + (arguments or ""))[:MAX_ARGUMENTS]


class Answer:
    """One answer as its chunks come."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self._drafts: dict[int, list[_Draft]] = {}
        self._said = False

    @property
    def empty(self) -> bool:
        """Whether there is neither a tool call nor a character that is no white space."""
        return not (self._said or self._drafts)

    def take(self, chunk: ChatCompletionChunk) -> str:
        """The text of the next chunk, empty if it carries something else.

        Raises ModelError if the answer was withheld.
        """
        if chunk.usage is not None:
            self.tokens = _tokens(chunk.usage)
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        if choice.finish_reason == "content_filter":
            withheld = "The model's content filter withheld the answer."
            raise ModelError(withheld, failure="refused", permanent=True)
        for part in choice.delta.tool_calls or ():
            self._add(part)
        piece = choice.delta.content or choice.delta.refusal or ""
        if not isinstance(piece, str):
            raise TypeError("a piece of text is not a string")
        self._said = self._said or bool(piece.strip())
        return piece

    def calls(self) -> Iterator[ToolCall]:
        """The tool calls, whole; to be asked for at the end."""
        for drafts in self._drafts.values():
            for draft in drafts:
                yield ToolCall(draft.name, draft.arguments)

    def _add(self, part: ChoiceDeltaToolCall) -> None:
        # Some number no call, or all of them 0, and tell them apart by their ids only.
        drafts = self._drafts.get(part.index or 0)
        other = bool(part.id) and drafts is not None and part.id != drafts[-1].call_id
        if drafts is None or other:
            if sum(map(len, self._drafts.values())) >= MAX_CALLS:
                return
            drafts = self._drafts.setdefault(part.index or 0, [])
            drafts.append(_Draft(part.id))
        if part.function is not None:
            drafts[-1].add(part.function.name, part.function.arguments)


def _tokens(usage: CompletionUsage) -> Tokens | None:
    """What the endpoint says it cost, None if that makes no sense."""
    told = (usage.prompt_tokens, usage.completion_tokens)
    if not all(type(number) is int and 0 <= number < 1_000_000_000 for number in told):
        return None
    return Tokens(*told)
