"""Ask the primary model, then the fallback, with a time limit for each."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from time import monotonic, sleep
from typing import TypeAlias

from vca.conversation import speech_text
from vca.conversation.answer_filter import UnmarkedReasoning
from vca.conversation.llm import (
    Chunk,
    FinishReason,
    ModelError,
    ModelRequest,
    Reasoning,
    ToolCall,
)
from vca.conversation.llm.cancellation import Cancelled
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.conversation.stream_reader import StreamEnd, StreamReader
from vca.conversation.types import Tokens
from vca.kit import deadline
from vca.kit.backoff import BackOff
from vca.observability import log

MAX_TEXT_CHARS = 8 * speech_text.MAX_CHARS
"""Characters of an answer, including markup, after which no more is read."""
_CHARS_PER_TOKEN = 4
_BACK_OFF = BackOff((0.3,), jitter=0.5)


@dataclass(frozen=True)
class ModelStarted:
    """A request was sent to a model.

    Discard any unfinished text of the model before it.
    """

    model: str


@dataclass(frozen=True)
class FillerDue:
    """No useful chunk has arrived for a while: say a filler. Repeated while a model reasons."""


@dataclass(frozen=True)
class AnswerEnded:
    """The answer is complete.

    `truncated` means that it ended in the middle, after text or a tool call that can stand alone.
    `finish` is the reason that the model gave for the end.
    """

    tokens: Tokens
    truncated: bool = False
    finish: FinishReason = "stop"


AnswerEvent: TypeAlias = ModelStarted | FillerDue | Chunk | UnmarkedReasoning | AnswerEnded


def stream_answer(
    models: Models, request: ModelRequest, *, is_allowed: Callable[[ToolCall], bool]
) -> Generator[AnswerEvent, None, None]:
    """Yield events until a model has answered; the last event is `AnswerEnded`.

    A chunk is useful if it contains a letter or a digit, or if it is a tool call that `is_allowed`
    accepts. The next model is asked when a model sends no useful chunk in time, fails, ends without
    a useful chunk, or stalls before its first sentence is complete. If there is no other model, one
    whose server is busy or broken is asked once more. Raises ModelError when no model is left, with
    the tokens of all models.
    Closing the generator stops the model. Raises Cancelled, with the tokens so far, if the caller's
    own token is cancelled.
    """
    timer = _AnswerTimer(models.latency_policy)
    failure: ModelError | None = None
    failed_tokens = Tokens()
    finish: FinishReason = "stop"
    attempts = models.attempts(request)
    retried = False
    while attempts:
        client, model_request = attempts.pop(0)
        attempt = _ModelAttempt(
            model_request, model_request.model or client.name, timer, is_allowed
        )
        yield ModelStarted(model_request.model or client.name)
        with closing(StreamReader(client, model_request)) as reader:
            try:
                yield from attempt.read(reader)
            except Cancelled as cancelled:
                cancelled.tokens = failed_tokens + attempt.estimated_tokens()
                raise
            except ModelError as error:
                failure = error
                log.get_logger().warning(
                    "model.failed",
                    model=model_request.model or client.name,
                    **error.log_fields,
                    server_message=error.server_message,
                )
                if not (attempts or retried or attempt.useful) and timer.wait_before_retry(error):
                    attempts, retried = [(client, model_request)], True
            else:
                failure = None
                if attempt.useful:
                    tokens = failed_tokens + attempt.answer_end.tokens
                    yield replace(attempt.answer_end, tokens=tokens)
                    return
                finish = attempt.answer_end.finish
        failed_tokens += attempt.estimated_tokens()
    if failure is not None:
        failure.tokens = failed_tokens
        raise failure
    yield AnswerEnded(failed_tokens, finish=finish)


def estimate_tokens(request: ModelRequest, text: str) -> Tokens:
    """Estimate the tokens of an answer whose client does not report them.

    The estimate is four characters a token, which holds for English.
    """
    prompt_chars = len(request.system) + sum(len(message.text) for message in request.messages)
    return Tokens(-(-prompt_chars // _CHARS_PER_TOKEN), -(-len(text) // _CHARS_PER_TOKEN))


class _AnswerTimer:
    """Tracks how long to wait; time that the consumer spends between events does not count."""

    def __init__(self, policy: LatencyPolicy) -> None:
        now = monotonic()
        left_s = deadline.remaining_s()
        whole_s = policy.whole_s if left_s is None else min(policy.whole_s, left_s)
        self._policy = policy
        self._filler_at: float | None = now + policy.filler_s
        self._last_filler_at: float | None = None
        self._first_s = policy.first_s
        self._ends_at = now + whole_s
        self._chunk_due_at = now

    @property
    def expired(self) -> bool:
        return monotonic() >= min(self._chunk_due_at, self._ends_at)

    def start_model(self, model: str) -> None:
        """Start the timeout for a model's first useful chunk."""
        self._first_s = self._policy.first_chunk_s(model)
        self._chunk_due_at = monotonic() + self._first_s

    def extend_for_reasoning(self) -> None:
        """Restart the timeout for the first useful chunk, and schedule the next filler."""
        now = monotonic()
        self._chunk_due_at = now + self._first_s
        if self._filler_at is None and self._last_filler_at is not None:
            self._filler_at = max(now, self._last_filler_at + self._policy.refill_s)

    def wait_before_retry(self, error: ModelError) -> bool:
        """Wait a moment and return True if a request may be sent again and time is left for it."""
        status = error.server_status
        if status is None or not (status == 429 or status >= 500) or error.permanent:
            return False
        wait_s = _BACK_OFF.delay_s(1)
        if error.server_retry_after_s is not None:
            wait_s = min(wait_s, error.server_retry_after_s)
        if monotonic() + wait_s >= self._ends_at:
            return False
        sleep(wait_s)
        return True

    def extend(self) -> None:
        """Restart the stall timeout after a useful chunk."""
        self._filler_at = self._last_filler_at = None
        self._chunk_due_at = monotonic() + self._policy.stall_s

    def extend_from(self, arrived_at: float) -> None:
        """Restart the stall timeout from the time when the model last sent text."""
        self._chunk_due_at = max(self._chunk_due_at, arrived_at + self._policy.stall_s)

    def left_s(self) -> float:
        """Return the seconds until the next timeout or the filler."""
        due_at = min(self._chunk_due_at, self._ends_at)
        return (due_at if self._filler_at is None else min(due_at, self._filler_at)) - monotonic()

    def filler_is_due(self) -> bool:
        """Return whether to say a filler now; true once for each time that one is scheduled."""
        if self._filler_at is None or monotonic() < self._filler_at or self.expired:
            return False
        self._filler_at, self._last_filler_at = None, monotonic()
        return True

    def pause(self, seconds: float) -> None:
        self._chunk_due_at += seconds
        self._ends_at += seconds


class _ModelAttempt:
    """Reads the answer of one model."""

    def __init__(
        self,
        request: ModelRequest,
        model: str,
        timer: _AnswerTimer,
        is_allowed: Callable[[ToolCall], bool],
    ) -> None:
        self._request = request
        self._model = model
        self._timer = timer
        self._is_allowed = is_allowed
        self._text = ""
        self._tool_call_count = 0
        self.useful = False
        self.answer_end = AnswerEnded(Tokens())
        """The end of the answer, once `read` has yielded all of its events."""

    def read(self, reader: StreamReader) -> Generator[AnswerEvent, None, None]:
        """Yield the answer's events but its end, which is then in `answer_end`.

        Raises ModelError when the model is given up before it sent anything that can stand alone.
        """
        self._timer.start_model(self._model)
        while True:
            item = reader.next_item(self._timer.left_s())
            if isinstance(item, StreamEnd):
                self.answer_end = self._read_end(item)
                return
            if isinstance(item, UnmarkedReasoning):
                self._text, self.useful = "", self._tool_call_count > 0
                yield from self._emit(item)
            if isinstance(item, Reasoning):
                if not self.useful:
                    self._timer.extend_for_reasoning()
            elif item is not None:
                self._add_chunk(item)
                yield from self._emit(item)
            if item is None and self.useful:
                self._timer.extend_from(reader.text_arrived_at)
            if self._timer.filler_is_due():
                yield from self._emit(FillerDue())
            if len(self._text) > MAX_TEXT_CHARS:
                too_long = ModelError("The model's answer is too long.", failure="bad_answer")
                self.answer_end = self._end_early(too_long)
                return
            if self._timer.expired:
                timed_out = ModelError("The model did not answer in time.", failure="timeout")
                self.answer_end = self._end_early(timed_out)
                return

    def estimated_tokens(self) -> Tokens:
        """Return the estimated tokens so far, zero if nothing arrived."""
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
            # White space alone does not extend the timeout, not even of an answer that has started.
            is_useful = speech_text.is_speakable(chunk) or (self.useful and not chunk.isspace())
        if is_useful:
            self.useful = True
            self._timer.extend()

    def _emit(self, event: AnswerEvent) -> Generator[AnswerEvent, None, None]:
        emitted_at = monotonic()
        yield event
        self._timer.pause(monotonic() - emitted_at)

    def _read_end(self, stream_end: StreamEnd) -> AnswerEnded:
        if stream_end.failure is not None:
            return self._end_early(stream_end.failure)
        summary = stream_end.summary
        return AnswerEnded(
            summary.tokens or self.estimated_tokens(),
            summary.finish in ("length", "content_filter"),
            summary.finish,
        )

    def _end_early(self, failure: ModelError) -> AnswerEnded:
        if self._tool_call_count or speech_text.has_sentence(self._text):
            return AnswerEnded(self.estimated_tokens(), truncated=True)
        raise failure
