"""Blocks in a model's text that may be tool calls, and where they end."""

import re
from dataclasses import dataclass

_JSON_TOKEN = re.compile(r'["\\{}\[\]]')
_MAX_END_CHARS = 400  # of a pattern's match


@dataclass(frozen=True)
class WrittenBlock:
    """A block of an answer that may be a tool call.

    `name` is the tool's name if the mark before the block has it. `is_wrapped` says whether the
    block stood in marks of a tool call.
    """

    text: str
    is_wrapped: bool
    name: str = ""


class BlockEnd:
    """Searches growing text for the end of a block, and no part of it twice.

    Without a pattern the block is a JSON object or array, which ends with its last bracket.
    """

    def __init__(self, pattern: str | None) -> None:
        self._pattern = re.compile(pattern) if pattern is not None else None
        self._scanned = 0
        self._depth = 0
        self._in_string = False

    @property
    def is_json(self) -> bool:
        """Whether the block is a JSON value."""
        return self._pattern is None

    def find(self, text: str) -> tuple[int, int] | None:
        """Return where the block and its end mark end, or None if more text is needed.

        `text` is all text of the block so far.
        """
        if self._pattern is None:
            end = self._find_last_bracket(text)
            return None if end is None else (end, end)
        for match in self._pattern.finditer(text, self._scanned):
            if match.end() > match.start():
                return match.start(), match.end()
        self._scanned = max(0, len(text) - _MAX_END_CHARS)
        return None

    def forget(self, length: int) -> None:
        """Adapt to the removal of the first characters of the text."""
        self._scanned = max(0, self._scanned - length)

    def _find_last_bracket(self, text: str) -> int | None:
        position = self._scanned
        while (match := _JSON_TOKEN.search(text, position)) is not None:
            position = match.end()
            match match[0]:
                case "\\" if self._in_string:
                    if position == len(text):
                        self._scanned = match.start()
                        return None
                    position += 1
                case '"':
                    self._in_string = not self._in_string
                case "{" | "[" if not self._in_string:
                    self._depth += 1
                case "}" | "]" if not self._in_string:
                    self._depth -= 1
                    if self._depth <= 0:
                        return position
        self._scanned = len(text)
        return None
