"""The turns of a call, and how a model gets to see them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vca.conversation import spoken
from vca.conversation.types import Message, Speaker

MAX_CHARS = 12_000


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
