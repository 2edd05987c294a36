"""Turn a model's answer into spoken chunks and, at its end, actions."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from vca.conversation import localised_phrases, model_fallback
from vca.conversation.llm import ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.conversation.model_fallback import AnswerEnded, FillerDue, ModelStarted
from vca.conversation.reply_text import ReplyText
from vca.conversation.tools import ToolCallCollector
from vca.conversation.types import Action, Profile, Reply, TakeMessage, Tokens


def stream_response(
    request: ModelRequest, *, models: Models, clock: Callable[[], float]
) -> Generator[str, None, Reply]:
    """Yield the answer to a request chunk by chunk, as soon as each chunk is complete.

    The generator returns the whole reply. A caller that stops early closes the generator, which
    stops the model. Raises ModelError.
    """
    response = _ResponseBuilder(request, clock)
    with closing(
        model_fallback.stream_answer(models, request, is_allowed=response.tool_calls.is_allowed)
    ) as events:
        yield from response.stream_text(events)
    yield from response.missing_text()
    return response.build_reply()


class _ResponseBuilder:
    """Collects one answer while it arrives."""

    def __init__(self, request: ModelRequest, clock: Callable[[], float]) -> None:
        self._request = request
        self._profile = request.profile
        self._clock = clock
        self._started_at = clock()
        self._reply_text = ReplyText()
        self._model_name: str | None = None
        self._tokens: Tokens | None = None
        self._latency_ms: dict[str, int] = {}
        self.tool_calls = ToolCallCollector(request.profile)

    def stream_text(self, events: Iterable[model_fallback.AnswerEvent]) -> Iterator[str]:
        """Yield text that can be spoken, until the model has finished or has said enough."""
        for event in events:
            match event:
                case ModelStarted():
                    self._start_model(event.model)
                case FillerDue():
                    yield self._reply_text.add_phrase(
                        localised_phrases.phrase(
                            "filler", self._profile.language, self._profile.phrases
                        )
                    )
                case AnswerEnded():
                    self._tokens = event.tokens
                    yield from self._reply_text.finish(truncated=event.truncated)
                case _:
                    self._record_latency("model_first_token")
                    yield from self._add_chunk(event)
            if self._reply_text.is_full or self.tool_calls.is_full:
                break
        self._record_latency("model")

    def missing_text(self) -> Iterator[str]:
        """Yield standard phrases if the model's answer contained no text."""
        if not self._reply_text.has_model_text:
            language, overrides = self._profile.language, self._profile.phrases
            for phrase in _phrases_for_silent_model(self._profile, self.tool_calls.actions):
                text = localised_phrases.phrase(phrase, language, overrides)
                yield self._reply_text.add_phrase(text)

    def build_reply(self) -> Reply:
        """Return the complete reply."""
        return Reply(
            self._reply_text.text,
            self.tool_calls.actions,
            self._latency_ms,
            self._tokens or model_fallback.estimate_tokens(self._request, self._reply_text.text),
            self._model_name,
            self.tool_calls.refusals,
        )

    def _start_model(self, model: str) -> None:
        self._model_name = model
        self._reply_text.discard_pending()
        self.tool_calls = ToolCallCollector(self._profile)

    def _add_chunk(self, chunk: str | ToolCall) -> Iterator[str]:
        if isinstance(chunk, ToolCall):
            self.tool_calls.add_call(chunk)
            return iter(())
        return self._reply_text.add_chunk(chunk)

    def _record_latency(self, stage: str) -> None:
        if stage not in self._latency_ms:
            self._latency_ms[stage] = round((self._clock() - self._started_at) * 1000)


def _phrases_for_silent_model(
    profile: Profile, actions: tuple[Action, ...]
) -> list[localised_phrases.PhraseKey]:
    """Return the phrases to say when the model called only tools, or returned nothing."""
    if not actions:
        return ["again"]
    acknowledgement: list[localised_phrases.PhraseKey] = (
        ["noted"] if isinstance(actions[0], TakeMessage) else []
    )
    match actions[-1].kind:
        case "hang_up":
            return [*acknowledgement, "goodbye"]
        case "transfer" | "to_fallback":
            return [*acknowledgement, "connecting"]
        case _:
            return [*acknowledgement, "anything_else"]
