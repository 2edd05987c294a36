"""Assemble the answer of an OpenAI-compatible server from its events.

Events are read as plain JSON. A part of an unexpected shape is left out; it never makes the rest of
the answer unusable.
"""

from collections.abc import Iterable
from typing import Any

from vca.conversation.llm import FinishReason
from vca.conversation.llm.event_stream import Event
from vca.conversation.llm.tool_call_parts import ToolCallAssembler
from vca.conversation.types import Tokens

_FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "insufficient_system_resource": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "refusal": "refusal",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
}
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking")


class AnswerAssembler:
    """Collects one answer while its events arrive."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.tool_calls = ToolCallAssembler()
        self.finish: FinishReason | None = None
        """Why the answer ended, None as long as the server has not said so."""
        self.has_reasoned = False
        """Whether the last events contained reasoning."""
        self.ends_with_text = False
        """Whether the last part of the answer, as far as it arrived, is text."""
        self.error: Any = None
        """The error that the server reported instead of the rest of the answer, or None."""
        self._has_text = False
        self._has_deltas = False
        self._is_refusal = False

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a tool call nor a character that is not white space."""
        return not (self._has_text or self.tool_calls)

    @property
    def finish_reason(self) -> FinishReason:
        """Why the answer ended, once it has."""
        if self._is_refusal and self.finish != "content_filter":
            return "refusal"
        return self.finish or "stop"

    def add_events(self, events: Iterable[Event]) -> str:
        """Return the text of the events; nothing is read after an error."""
        self.has_reasoned = False
        texts: list[str] = []
        for event in events:
            self.error = event.get("error") or (event if event.get("object") == "error" else None)
            if self.error:
                break
            if event.get("usage") or "x_groq" in event:
                self._add_usage(event)
            choices = event.get("choices")
            if isinstance(choices, list) and choices and isinstance(choices[0], dict):
                texts.append(self._add_choice(event, choices[0]))
                if self.error:
                    break
        if texts:
            self.ends_with_text = bool(texts[-1])
        text = "".join(texts)
        self._has_text = self._has_text or bool(text.strip())
        return text

    def _add_choice(self, event: Event, choice: dict[str, Any]) -> str:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._has_deltas = True
        else:
            # A whole answer; some servers send it once more after its parts.
            message = choice.get("message")
            delta = message if isinstance(message, dict) and not self._has_deltas else {}
        reason = (
            choice.get("finish_reason") or delta.get("finish_reason") or event.get("finish_reason")
        )
        self.error = choice.get("error")
        if reason:
            self._add_finish_reason(reason)
        if calls := delta.get("tool_calls") or delta.get("function_call"):
            self.tool_calls.add_parts(calls)
        content = delta.get("content")
        text = content if isinstance(content, str) else self._parts_text(content)
        if not text:
            if refusal := delta.get("refusal"):
                text = refusal if isinstance(refusal, str) else self._parts_text(refusal)
                self._is_refusal = self._is_refusal or bool(text)
            elif any(delta.get(name) for name in _REASONING_FIELDS):
                self.has_reasoned = True
        return text

    def _parts_text(self, content: object) -> str:
        """Return the text of a content that is not a plain text but a part or a list of parts."""
        texts = []
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, dict):
                self.has_reasoned = self.has_reasoned or part.get("type") in _REASONING_PARTS
                part = part.get("text") if part.get("type") not in _REASONING_PARTS else ""
            if isinstance(part, str):
                texts.append(part)
        return "".join(texts)

    def _add_finish_reason(self, reason: object) -> None:
        name = reason.lower() if isinstance(reason, str) else "stop"
        if name == "error":
            self.error = self.error or {"code": "error"}
        elif name not in ("null", "none"):
            self.finish = _FINISH_REASONS.get(name, "stop")

    def _add_usage(self, event: Event) -> None:
        usage = event.get("usage")
        if usage is None and (groq := event.get("x_groq")):
            usage = groq.get("usage") if isinstance(groq, dict) else None
        if usage is not None:
            self.tokens = _parse_usage(usage)


def _parse_usage(usage: object) -> Tokens | None:
    """Return the token usage that the server reports, or None if it is not plausible."""
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    plausible = [count for count in counts if type(count) is int and 0 <= count < 1_000_000_000]
    return Tokens(*plausible) if len(plausible) == 2 else None
