"""Ask the models until one answers, and never wait for any of them too long."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from vca.conversation import spoken
from vca.conversation.llm import ModelError, ModelRequest, Piece, ToolCall
from vca.conversation.llm.models import Models, Patience
from vca.conversation.reading import Over, Reader
from vca.conversation.types import Tokens
from vca.kit import deadline, log

MAX_TEXT = 8 * spoken.MAX_CHARS
"""Characters of an answer, markup and all, after which no more is read."""
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Begun:
    """A model was asked; whatever one before it had not finished is void."""

    model: str


@dataclass(frozen=True)
class Waiting:
    """Nothing useful has come for a while: say something meanwhile. Comes once."""


@dataclass(frozen=True)
class Ended:
    """The answer is over; `broken_off`: in the middle, after something that can stand alone."""

    tokens: Tokens
    broken_off: bool = False


Event: TypeAlias = Begun | Waiting | Piece | Ended


def ask(
    models: Models, request: ModelRequest, *, allows: Callable[[ToolCall], bool]
) -> Generator[Event, None, None]:
    """What happens until a model has answered, the last being `Ended`.

    A piece is useful if it holds a letter or a digit, or a tool call that `allows`. A model that
    gives none in time, fails, or ends without one is given up for the next; so is one that stalls
    before its first sentence is complete. Raises ModelError when no model is left. Closing the
    generator stops the model.
    """
    wait = _Wait(models.patience)
    failure: ModelError | None = None
    spent = Tokens()
    for client, asked in models.asked(request):
        answer = _Answer(asked, wait, allows)
        yield Begun(asked.model or client.name)
        with closing(Reader(client, asked)) as reader:
            try:
                ended = yield from answer.read(reader)
            except ModelError as error:
                failure = error
                log.get().warning(
                    "model.failed", model=asked.model or client.name, **error.log_fields
                )
            else:
                failure = None
                if answer.useful:
                    yield Ended(spent + ended.tokens, ended.broken_off)
                    return
        spent += answer.cost()
    if failure is not None:
        raise failure
    yield Ended(spent)


def estimate(request: ModelRequest, text: str) -> Tokens:
    """About what an answer cost whose client does not tell: English has four letters a token."""
    asked = len(request.system) + sum(len(message.text) for message in request.messages)
    return Tokens(-(-asked // _CHARS_PER_TOKEN), -(-len(text) // _CHARS_PER_TOKEN))


class _Wait:
    """How long there is to wait; the time that the listener takes for himself does not count."""

    def __init__(self, patience: Patience) -> None:
        now = monotonic()
        left_s = deadline.remaining_s()
        whole_s = patience.whole_s if left_s is None else min(patience.whole_s, left_s)
        self._patience = patience
        self._filler_at: float | None = now + patience.filler_s
        self._ends_at = now + whole_s
        self._until = now

    @property
    def over(self) -> bool:
        return monotonic() >= min(self._until, self._ends_at)

    def begin(self) -> None:
        """A model was asked."""
        self._until = monotonic() + self._patience.first_s

    def go_on(self) -> None:
        """A piece of an answer that has begun came."""
        self._filler_at = None
        self._until = monotonic() + self._patience.stall_s

    def left_s(self) -> float:
        """Seconds until something has to happen."""
        until = min(self._until, self._ends_at)
        return (until if self._filler_at is None else min(until, self._filler_at)) - monotonic()

    def filler_is_due(self) -> bool:
        """Whether to say something meanwhile; true once."""
        if self._filler_at is None or monotonic() < self._filler_at or self.over:
            return False
        self._filler_at = None
        return True

    def pause(self, seconds: float) -> None:
        self._until += seconds
        self._ends_at += seconds


class _Answer:
    """One model's answer as it is read."""

    def __init__(
        self, request: ModelRequest, wait: _Wait, allows: Callable[[ToolCall], bool]
    ) -> None:
        self._request = request
        self._wait = wait
        self._allows = allows
        self._text = ""
        self._calls = 0
        self.useful = False

    def read(self, reader: Reader) -> Generator[Event, None, Ended]:
        """Its pieces; raises ModelError when it is given up with nothing that can stand alone."""
        self._wait.begin()
        while True:
            item = reader.next(self._wait.left_s())
            if isinstance(item, Over):
                if item.failure is not None:
                    return self._broken_off(item.failure)
                return Ended(item.tokens or self.cost())
            if item is not None:
                self._take(item)
                yield from self._handed_on(item)
            if self._wait.filler_is_due():
                yield from self._handed_on(Waiting())
            if len(self._text) > MAX_TEXT:
                much = ModelError("The model answered too much.", failure="bad_answer")
                return self._broken_off(much)
            if self._wait.over:
                late = ModelError("The model did not answer in time.", failure="timeout")
                return self._broken_off(late)

    def cost(self) -> Tokens:
        """About what it has cost so far, nothing if nothing came."""
        return estimate(self._request, self._text) if self._text or self._calls else Tokens()

    def _take(self, piece: Piece) -> None:
        if isinstance(piece, ToolCall):
            useful = self._allows(piece)
            self._calls += useful
        else:
            self._text += piece
            # White space that trickles does not prolong an answer that has begun either.
            useful = spoken.can_be_said(piece) or (self.useful and not piece.isspace())
        if useful:
            self.useful = True
            self._wait.go_on()

    def _handed_on(self, event: Event) -> Generator[Event, None, None]:
        began = monotonic()
        yield event
        self._wait.pause(monotonic() - began)

    def _broken_off(self, failure: ModelError) -> Ended:
        if self._calls or spoken.has_sentence(self._text):
            return Ended(self.cost(), broken_off=True)
        raise failure
