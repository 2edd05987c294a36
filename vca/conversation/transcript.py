"""The turns of a call, and how they are presented to a model."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vca.conversation import speech_text
from vca.conversation.types import Message, Speaker

MAX_CHARS = 12_000
MAX_DTMF_KEYS = 50
_DTMF_KEYS = frozenset("0123456789*#ABCD")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Turn:
    """One speaker's turn; `heard_text` is the part that was heard of an interrupted agent turn."""

    speaker: Speaker
    text: str
    heard_text: str | None = None

    @property
    def effective_text(self) -> str:
        """The text that both sides know was spoken."""
        if self.speaker == "agent" and self.heard_text is not None:
            return self.heard_text
        return self.text


def build_messages(turns: Sequence[Turn], *, max_chars: int = MAX_CHARS) -> tuple[Message, ...]:
    """Return the newest turns within `max_chars`, oldest first, alternating, without empty ones.

    A turn is included whole or not at all. Only the newest is cut, at its start, if it alone is too
    long.
    """
    cleaned = (
        Message(turn.speaker, speech_text.clean_text(turn.effective_text))
        for turn in reversed(turns)
    )
    newest_first = _fit_newest((message for message in cleaned if message.text), max_chars)
    return tuple(_merge_speakers(reversed(newest_first)))


def dtmf_text(keys: str) -> str:
    """Return the text of a turn of pressed keys (DTMF); empty if none of them is a valid key."""
    valid_keys = " ".join(key for key in keys if key in _DTMF_KEYS)[: 2 * MAX_DTMF_KEYS - 1]
    return f"(pressed {valid_keys})" if valid_keys else ""


def match_heard_prefix(text: str, heard_prefix: str) -> str:
    """Return the part that was heard of an agent turn that was interrupted after `heard_prefix`.

    Carriers report the prefix with their own white space, case and punctuation, so words are
    compared; the last one may be incomplete. The result ends before the first word that differs; it
    is empty if that is the turn's first word.
    """
    end = 0
    heard_words = [word.casefold() for word in _WORD.findall(heard_prefix)]
    for position, (match, heard_word) in enumerate(
        zip(_WORD.finditer(text), heard_words, strict=False), start=1
    ):
        is_whole = match[0].casefold() == heard_word
        if not is_whole and not (
            position == len(heard_words) and match[0].casefold().startswith(heard_word)
        ):
            break
        end = match.end() if is_whole else match.start() + len(heard_word)
    return _with_punctuation(text, end)


def _with_punctuation(text: str, end: int) -> str:
    """Return the text up to `end`, with the punctuation after its last word if that is complete."""
    if end == 0:
        return ""
    if _WORD.match(text, end):
        return text[:end]
    punctuation = re.compile(r"[^\w\s]*").match(text, end)
    return text[: punctuation.end() if punctuation else end]


def _fit_newest(newest_first: Iterable[Message], max_chars: int) -> list[Message]:
    selected: list[Message] = []
    chars_left = max_chars
    for message in newest_first:
        if len(message.text) > chars_left:
            return selected or [replace(message, text=message.text[-max_chars:])]
        selected.append(message)
        chars_left -= len(message.text)
    return selected


def _merge_speakers(oldest_first: Iterable[Message]) -> list[Message]:
    merged: list[Message] = []
    for message in oldest_first:
        if merged and merged[-1].speaker == message.speaker:
            message = replace(message, text=f"{merged[-1].text} {message.text}")
            merged.pop()
        merged.append(message)
    return merged
