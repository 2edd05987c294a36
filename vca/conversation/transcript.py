"""The turns of a call, and how a model gets to see them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vca.conversation import spoken
from vca.conversation.types import Message, Speaker

MAX_CHARS = 12_000
MAX_KEYS = 50
_KEYS = frozenset("0123456789*#ABCD")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Turn:
    """One speaker's turn; `heard_text` is what was heard of an agent's turn that was cut off."""

    speaker: Speaker
    text: str
    heard_text: str | None = None

    @property
    def as_heard(self) -> str:
        """What both sides know to have been said."""
        if self.speaker == "agent" and self.heard_text is not None:
            return self.heard_text
        return self.text


def messages(turns: Sequence[Turn], *, max_chars: int = MAX_CHARS) -> tuple[Message, ...]:
    """The newest turns that fit into `max_chars`, oldest first, without silent ones, alternating.

    A turn is in whole or not at all; only the newest is cut, at its start, when it alone is too
    long.
    """
    said = (Message(turn.speaker, spoken.clean(turn.as_heard)) for turn in reversed(turns))
    newest_first = _fitting((message for message in said if message.text), max_chars)
    return tuple(_alternating(reversed(newest_first)))


def pressed(keys: str) -> str:
    """What a turn says in which the caller pressed keys; empty if none of them is a key."""
    known = " ".join(key for key in keys if key in _KEYS)[: 2 * MAX_KEYS - 1]
    return f"(pressed {known})" if known else ""


def heard_of(text: str, heard_prefix: str) -> str:
    """What was heard of an agent's turn that was cut off after `heard_prefix`.

    Carriers tell it with white space, case and punctuation of their own: words count, the last of
    which may be cut. Up to the first word that the turn does not have there; empty if that is its
    first.
    """
    end = 0
    told = [word.casefold() for word in _WORD.findall(heard_prefix)]
    for number, (said, heard) in enumerate(zip(_WORD.finditer(text), told, strict=False), start=1):
        whole = said[0].casefold() == heard
        if not whole and not (number == len(told) and said[0].casefold().startswith(heard)):
            break
        end = said.end() if whole else said.start() + len(heard)
    return _with_its_marks(text, end)


def _with_its_marks(text: str, end: int) -> str:
    """The text up to `end`, and the punctuation of its last word if that was heard to its end."""
    if end == 0:
        return ""
    if _WORD.match(text, end):
        return text[:end]
    marks = re.compile(r"[^\w\s]*").match(text, end)
    return text[: marks.end() if marks else end]


def _fitting(newest_first: Iterable[Message], max_chars: int) -> list[Message]:
    kept: list[Message] = []
    left = max_chars
    for message in newest_first:
        if len(message.text) > left:
            return kept or [replace(message, text=message.text[-max_chars:])]
        kept.append(message)
        left -= len(message.text)
    return kept


def _alternating(oldest_first: Iterable[Message]) -> list[Message]:
    joined: list[Message] = []
    for message in oldest_first:
        if joined and joined[-1].speaker == message.speaker:
            message = replace(message, text=f"{joined[-1].text} {message.text}")
            joined.pop()
        joined.append(message)
    return joined
