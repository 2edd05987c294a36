"""Assemble tool calls from the parts in which servers stream them.

OpenAI numbers the calls of an answer, gives each an id, sends its name once and its arguments in
pieces. Other servers send no number, the same number for every call, another id with every piece,
the name with every piece, the arguments as an object, or a whole call twice.
"""

from collections.abc import Iterator
from typing import Any

from vca.conversation.llm import MAX_ARGUMENTS_CHARS, ToolCall
from vca.kit import json

MAX_CALLS = 32
_MAX_NAME_CHARS = 100


class _Draft:
    """A tool call whose arguments are still arriving."""

    def __init__(self, index: int | None, call_id: str) -> None:
        self.index = index
        self.call_id = call_id
        self.name = ""
        self.arguments = ""

    @property
    def has_arguments(self) -> bool:
        """Whether there are arguments; gateways send an empty object as a placeholder first."""
        return self.arguments.strip() not in ("", "{}")

    @property
    def is_final(self) -> bool:
        """Whether there are arguments that nothing can continue."""
        return self.has_arguments and self.is_complete

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are a JSON object."""
        text = self.arguments.strip()
        return text.endswith("}") and _is_json_object(text)

    def add(self, name: str, arguments: str) -> None:
        self.name = self.name or name
        if arguments.strip():
            previous = self.arguments if self.has_arguments else ""
            self.arguments = (previous + arguments)[:MAX_ARGUMENTS_CHARS]


class ToolCallAssembler:
    """Collects the tool calls of one answer."""

    def __init__(self) -> None:
        self._drafts: list[_Draft] = []

    def __bool__(self) -> bool:
        return bool(self._drafts)

    def add_parts(self, parts: object) -> None:
        """Add the parts of one event; anything of another shape is ignored."""
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, dict):
                self._add_part(part)

    def calls(self, *, only_complete: bool = False) -> Iterator[ToolCall]:
        """Yield the calls in order; optionally only those whose arguments are a JSON object."""
        for draft in self._drafts:
            if draft.is_complete or not only_complete:
                yield ToolCall(draft.name, draft.arguments)

    def _add_part(self, part: dict[str, Any]) -> None:
        function = part.get("function", part)
        if not isinstance(function, dict):
            return
        name = _text(function.get("name"))[:_MAX_NAME_CHARS]
        arguments = _arguments_text(function.get("arguments"))
        if not (name or arguments):
            return
        index, call_id = _index(part.get("index")), _text(part.get("id"))
        draft = self._find_draft(index, call_id)
        if draft is None and not name and self._drafts:
            draft = self._drafts[-1]  # only a part with a name can start a call
        if draft is None or _starts_new_call(draft, call_id, name, arguments):
            if len(self._drafts) < MAX_CALLS:
                name = name or (draft.name if draft is not None else "")
                self._drafts.append(_Draft(index, call_id))
                self._drafts[-1].add(name, arguments)
        elif not draft.is_final:
            # Anything that follows a complete call is the same call once more.
            draft.add(name, arguments)

    def _find_draft(self, index: int | None, call_id: str) -> _Draft | None:
        """Return the call that a part with this index and id seems to continue."""
        for draft in reversed(self._drafts):
            if call_id and draft.call_id == call_id and index in (None, draft.index):
                return draft
        same_index = (
            draft for draft in reversed(self._drafts) if index is None or draft.index == index
        )
        return next(same_index, None)


def _starts_new_call(draft: _Draft, call_id: str, name: str, arguments: str) -> bool:
    """Return whether a part that seems to continue `draft` starts another call."""
    if call_id and call_id == draft.call_id:
        return False
    if name and draft.name and name != draft.name:
        return True
    # Some servers repeat the name with every part, and some send it for the first of several calls
    # of one tool only.
    return draft.is_final and (bool(name) or arguments.lstrip().startswith("{"))


def _index(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:9])
    return value if type(value) is int else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _arguments_text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value).decode()
    except TypeError:  # integers of more than 64 bits, or nested too deeply
        return ""


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads_tolerant(text.encode("utf-8", "replace")), dict)
    except json.InvalidJson:
        return False
