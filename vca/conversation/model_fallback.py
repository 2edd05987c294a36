"""Ask the models until one answers, and never wait for any of them too long."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from vca.conversation import speech_text
from vca.conversation.llm import Chunk, ModelError, ModelRequest, ToolCall
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.conversation.stream_reader import StreamEnd, StreamReader
from vca.conversation.types import Tokens
from vca.kit import deadline
from vca.observability import log

MAX_TEXT_CHARS = 8 * speech_text.MAX_CHARS
"""Characters of an answer, markup and all, after which no more is read."""
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class ModelStarted:
    """A model was asked; whatever one before it had not finished is void."""

    model: str


@dataclass(frozen=True)
class FillerDue:
    """Nothing useful has come for a while: say something meanwhile. Comes once."""


@dataclass(frozen=True)
class AnswerEnded:
    """The answer is over; `broken_off`: in the middle, after something that can stand alone."""

    tokens: Tokens
    truncated: bool = False


AnswerEvent: TypeAlias = ModelStarted | FillerDue | Chunk | AnswerEnded


def stream_answer(
    models: Models, request: ModelRequest, *, is_allowed: Callable[[ToolCall], bool]
) -> Generator[AnswerEvent, None, None]:
    """What happens until a model has answered, the last being `Ended`.

    A piece is useful if it holds a letter or a digit, or a tool call that `allows`. A model that
    gives none in time, fails, or ends without one is given up for the next; so is one that stalls
    before its first sentence is complete. Raises ModelError when no model is left. Closing the
    generator stops the model.
    """
    timer = _AnswerTimer(models.latency_policy)
    failure: ModelError | None = None
    failed_tokens = Tokens()
    for client, model_request in models.attempts(request):
        attempt = _ModelAttempt(model_request, timer, is_allowed)
        yield ModelStarted(model_request.model or client.name)
        with closing(StreamReader(client, model_request)) as reader:
            try:
                answer_end = yield from attempt.read(reader)
            except ModelError as error:
                failure = error
                log.get_logger().warning(
                    "model.failed", model=model_request.model or client.name, **error.log_fields
                )
            else:
                failure = None
                if attempt.useful:
                    yield AnswerEnded(failed_tokens + answer_end.tokens, answer_end.truncated)
                    return
        failed_tokens += attempt.estimated_tokens()
    if failure is not None:
        raise failure
    yield AnswerEnded(failed_tokens)


def estimate_tokens(request: ModelRequest, text: str) -> Tokens:
    """About what an answer cost whose client does not tell: English has four letters a token."""
    prompt_chars = len(request.system) + sum(len(message.text) for message in request.messages)
    return Tokens(-(-prompt_chars // _CHARS_PER_TOKEN), -(-len(text) // _CHARS_PER_TOKEN))


class _AnswerTimer:
    """How long there is to wait; the time that the listener takes for himself does not count."""

    def __init__(self, policy: LatencyPolicy) -> None:
        now = monotonic()
        left_s = deadline.remaining_s()
        whole_s = policy.whole_s if left_s is None else min(policy.whole_s, left_s)
        self._policy = policy
        self._filler_at: float | None = now + policy.filler_s
        self._ends_at = now + whole_s
        self._chunk_due_at = now

    @property
    def expired(self) -> bool:
        return monotonic() >= min(self._chunk_due_at, self._ends_at)

    def start_model(self) -> None:
        """A model was asked."""
        self._chunk_due_at = monotonic() + self._policy.first_s

    def extend(self) -> None:
        """A piece of an answer that has begun came."""
        self._filler_at = None
        self._chunk_due_at = monotonic() + self._policy.stall_s

    def left_s(self) -> float:
        """Seconds until something has to happen."""
        due_at = min(self._chunk_due_at, self._ends_at)
        return (due_at if self._filler_at is None else min(due_at, self._filler_at)) - monotonic()

    def filler_is_due(self) -> bool:
        """Whether to say something meanwhile; true once."""
        if self._filler_at is None or monotonic() < self._filler_at or self.expired:
            return False
        self._filler_at = None
        return True

    def pause(self, seconds: float) -> None:
        self._chunk_due_at += seconds
        self._ends_at += seconds


class _ModelAttempt:
    """One model's answer as it is read."""

    def __init__(
        self, request: ModelRequest, timer: _AnswerTimer, is_allowed: Callable[[ToolCall], bool]
    ) -> None:
        self._request = request
        self._timer = timer
        self._is_allowed = is_allowed
        self._text = ""
        self._tool_call_count = 0
        self.useful = False

    def read(self, reader: StreamReader) -> Generator[AnswerEvent, None, AnswerEnded]:
        """Its pieces; raises ModelError when it is given up with nothing that can stand alone."""
        self._timer.start_model()
        while True:
            item = reader.next_item(self._timer.left_s())
            if isinstance(item, StreamEnd):
                if item.failure is not None:
                    return self._end_early(item.failure)
                return AnswerEnded(item.tokens or self.estimated_tokens())
            if item is not None:
                self._add_chunk(item)
                yield from self._emit(item)
            if self._timer.filler_is_due():
                yield from self._emit(FillerDue())
            if len(self._text) > MAX_TEXT_CHARS:
                too_long = ModelError("The model answered too much.", failure="bad_answer")
                return self._end_early(too_long)
            if self._timer.expired:
                timed_out = ModelError("The model did not answer in time.", failure="timeout")
                return self._end_early(timed_out)

    def estimated_tokens(self) -> Tokens:
        """About what it has cost so far, nothing if nothing came."""
        return (
            estimate_tokens(self._request, self._text)
            if self._text or self._tool_call_count
            else Tokens()
        )

    def _add_chunk(self, chunk: Chunk) -> None:
        if isinstance(chunk, ToolCall):
            is_useful = self._is_allowed(chunk)
            self._tool_call_count += is_useful
        else:
            self._text += chunk
            # White space that trickles does not prolong an answer that has begun either.
            is_useful = speech_text.is_speakable(chunk) or (self.useful and not chunk.isspace())
        if is_useful:
            self.useful = True
            self._timer.extend()

    def _emit(self, event: AnswerEvent) -> Generator[AnswerEvent, None, None]:
        emitted_at = monotonic()
        yield event
        self._timer.pause(monotonic() - emitted_at)

    def _end_early(self, failure: ModelError) -> AnswerEnded:
        if self._tool_call_count or speech_text.has_sentence(self._text):
            return AnswerEnded(self.estimated_tokens(), truncated=True)
        raise failure
