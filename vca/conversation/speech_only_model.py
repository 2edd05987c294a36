"""A model client that yields only text that can be spoken, and tool calls.

It filters another client's stream in the thread that reads it. Reasoning in the text becomes
`Reasoning`, which shows that the model is working and does not count as an answer.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import ClassVar

from typing_extensions import override

from vca.conversation import written_calls
from vca.conversation.answer_filter import AnswerFilter
from vca.conversation.llm import (
    AnswerStream,
    AnswerSummary,
    Chunk,
    ModelClient,
    ModelRequest,
    Reasoning,
)
from vca.conversation.llm.models import Models
from vca.kit.outcome_stream import PendingOutcome

_REASONING = Reasoning()


def filter_models(models: Models) -> Models:
    """Return the models with filtered answers."""
    return replace(
        models,
        primary=SpeechOnlyModel(models.primary, models.unmarked_reasoners),
        fallback=models.fallback and SpeechOnlyModel(models.fallback, models.unmarked_reasoners),
    )


class SpeechOnlyModel(ModelClient):
    """Filters the answers of one client.

    `unmarked_reasoners` are the names of models whose last answer began with reasoning and had only
    an end mark. Their next answer is withheld up to the end mark, or to its end. For all other
    models that would delay every answer. The filter forgets a model whose answer had no such mark,
    so that a caller who dictates a mark delays one answer and not all.
    """

    deterministic: ClassVar[bool] = False

    def __init__(self, client: ModelClient, unmarked_reasoners: set[str]) -> None:
        self.name = client.name
        self._client = client
        self._unmarked_reasoners = unmarked_reasoners

    @override
    def stream(self, request: ModelRequest) -> AnswerStream:
        summary = PendingOutcome[AnswerSummary]()
        return AnswerStream(self._filter_chunks(request, summary), summary)

    def _filter_chunks(
        self, request: ModelRequest, summary: PendingOutcome[AnswerSummary]
    ) -> Generator[Chunk | Reasoning, None, None]:
        model = request.model or self.name
        tool_names = [spec.name for spec in request.tools]
        answer = AnswerFilter(tool_names, withholds=model in self._unmarked_reasoners)
        try:
            with self._client.stream(request) as chunks:
                for chunk in chunks:
                    if not isinstance(chunk, str) or answer.passes(chunk):
                        yield chunk
                    elif items := answer.add(chunk):
                        yield from items
                    else:  # something for every chunk: between two the reader may stop
                        yield _REASONING if chunk.strip() else chunk
        finally:
            if answer.had_unmarked_reasoning:
                self._unmarked_reasoners.add(model)
        yield from answer.finish()
        yield from written_calls.read_calls(answer.blocks, tool_names)
        if not answer.had_unmarked_reasoning:
            self._unmarked_reasoners.discard(model)
        summary.set(chunks.outcome)
