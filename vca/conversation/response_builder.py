"""Turn a model's answer into spoken chunks and, at its end, actions."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from math import inf

from vca.conversation import localised_phrases, model_fallback, speech_only_model, tool_round
from vca.conversation.answer_filter import UnmarkedReasoning
from vca.conversation.llm import FinishReason, ModelError, ModelRequest
from vca.conversation.llm.cancellation import Cancelled
from vca.conversation.llm.models import Models
from vca.conversation.model_fallback import AnswerEnded, FillerDue, ModelStarted
from vca.conversation.reply_text import ReplyText
from vca.conversation.tools import ToolCallCollector
from vca.conversation.types import Reply, Tokens, ToolCall
from vca.kit.deadline import Deadline
from vca.kit.outcome_stream import PendingOutcome

MIN_CORRECTION_S = 1.5
"""The time that must be left of the turn to send refused tool calls back to the model."""


def stream_response(
    request: ModelRequest,
    *,
    models: Models,
    clock: Callable[[], float],
    whole_reply: PendingOutcome[Reply],
) -> Generator[str, None, None]:
    """Yield the answer to a request chunk by chunk, as soon as each chunk is complete.

    If the model's tool calls are refused, the reasons go back to the model once. Sets the whole
    reply at the end. A caller that stops early closes the generator, which stops the model. Raises
    ModelError if there is no first answer.
    """
    deadline = Deadline.within_budget(models.latency_policy.whole_s)
    filtered_models = speech_only_model.filter_models(models)
    response = _ResponseBuilder(request, clock)
    yield from response.stream_answer(filtered_models, request)
    left_s = deadline.remaining_s
    if response.needs_correction and left_s >= MIN_CORRECTION_S:
        yield from response.stream_correction(_with_time_left(filtered_models, left_s))
    yield from response.closing_text()
    whole_reply.set(response.build_reply())


def _with_time_left(models: Models, left_s: float) -> Models:
    return replace(models, latency_policy=replace(models.latency_policy, whole_s=left_s))


class _ResponseBuilder:
    """Collects the answers of one turn while they arrive."""

    def __init__(self, request: ModelRequest, clock: Callable[[], float]) -> None:
        self._request = request
        self._profile = request.profile
        self._clock = clock
        self._started_at = clock()
        self._reply_text = ReplyText()
        self._tool_calls = ToolCallCollector(request.profile, tool_round.quotable_texts(request))
        self._model_name: str | None = None
        self._tokens = Tokens()
        self._latency_ms: dict[str, int] = {}
        self._finish: FinishReason = "stop"
        self._is_truncated = False
        self._has_failed_call = False

    @property
    def needs_correction(self) -> bool:
        """Whether the model should learn why its tool calls were refused, and answer again."""
        is_full = self._reply_text.is_full or self._tool_calls.is_full
        return self._has_failed_call and not is_full

    def stream_answer(self, models: Models, request: ModelRequest) -> Iterator[str]:
        """Yield the text of an answer until the model has finished or has said enough."""
        tokens = None
        with closing(
            model_fallback.stream_answer(models, request, is_allowed=self._tool_calls.is_allowed)
        ) as events:
            try:
                for event in events:
                    if isinstance(event, AnswerEnded):
                        tokens = event.tokens
                    yield from self._read_event(event)
                    if self._reply_text.is_full or self._tool_calls.is_full:
                        break
            except Cancelled as cancelled:
                cancelled.tokens = self._tokens + cancelled.tokens
                raise
        self._latency_ms["model"] = self._elapsed_ms()
        self._tokens += tokens or model_fallback.estimate_tokens(
            request, self._reply_text.round_text
        )
        self._has_failed_call = self._tool_calls.has_failed_call

    def stream_correction(self, models: Models) -> Iterator[str]:
        """Yield the text of a second answer, to the results of the refused tool calls.

        If there is no useful answer, the calls of the first one remain refused.
        """
        request = tool_round.add_results(
            self._request, self._reply_text.round_text, self._tool_calls.round_results
        )
        if self._reply_text.text:
            # The caller has heard something already and does not wait in silence.
            models = replace(models, latency_policy=replace(models.latency_policy, filler_s=inf))
        self._reply_text.start_round()
        self._tool_calls.start_round()
        try:
            yield from self.stream_answer(models, request)
        except ModelError as error:  # logged where it is raised; the caller learns of the failure
            self._tokens += error.tokens
            self._has_failed_call = True
            return
        if not self._reply_text.round_text and not self._tool_calls.round_results:
            self._has_failed_call = True

    def closing_text(self) -> Iterator[str]:
        """Yield our own phrase if something failed, is missing or was cut off.

        An answer with actions and without text needs none yet: see `action_phrases`.
        """
        phrase: localised_phrases.PhraseKey | None = None
        if self._has_failed_call:
            phrase = "not_done"
        elif self._reply_text.has_model_text:
            if self._is_truncated and self._reply_text.is_cut_off:
                phrase = "cut_off"
        elif not self._tool_calls.actions:
            is_withheld = self._finish in ("content_filter", "refusal")
            phrase = "cannot_help" if is_withheld else "again"
        if phrase is not None:
            yield self._add_phrase(phrase)

    def build_reply(self) -> Reply:
        """Return the complete reply."""
        return Reply(
            self._reply_text.text,
            self._tool_calls.actions,
            self._latency_ms,
            self._tokens,
            self._model_name,
            self._tool_calls.refused_tools,
            is_silent=bool(self._tool_calls.actions) and not self._reply_text.has_model_text,
        )

    def _read_event(self, event: model_fallback.AnswerEvent) -> Iterable[str]:
        """Return the text that can be spoken after the event."""
        if isinstance(event, str):
            if not self._latency_ms:
                self._record_first_chunk()
            return self._reply_text.add_chunk(event)
        match event:
            case ToolCall():
                self._record_first_chunk()
                self._tool_calls.add_call(event)
            case ModelStarted():
                self._model_name = event.model
                self._reply_text.discard_pending()
                self._tool_calls.restart_round()
            case UnmarkedReasoning():
                self._reply_text.discard_pending()
            case FillerDue():
                return [self._add_phrase("filler")]
            case AnswerEnded():
                self._finish, self._is_truncated = event.finish, event.truncated
                return self._reply_text.finish(truncated=event.truncated)
        return ()

    def _add_phrase(self, key: localised_phrases.PhraseKey) -> str:
        text = localised_phrases.phrase(key, self._profile.language, self._profile.phrases)
        return self._reply_text.add_phrase(text)

    def _record_first_chunk(self) -> None:
        if "model_first_token" not in self._latency_ms:
            self._latency_ms["model_first_token"] = self._elapsed_ms()

    def _elapsed_ms(self) -> int:
        return round((self._clock() - self._started_at) * 1000)
