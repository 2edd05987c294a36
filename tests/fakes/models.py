"""Model clients that follow a list of steps: send a chunk, wait for an event, or fail."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from threading import Event
from typing import TypeAlias, TypeVar

from vca.conversation.llm import (
    AnswerStream,
    AnswerSummary,
    Chunk,
    FinishReason,
    ModelClient,
    ModelError,
    ModelRequest,
    Reasoning,
    cancellation,
)
from vca.conversation.types import Tokens
from vca.kit.outcome_stream import PendingOutcome

Step: TypeAlias = Chunk | Reasoning | Event | ModelError
Answer: TypeAlias = Generator[Chunk | Reasoning, None, AnswerSummary]
Model = TypeVar("Model", bound=ModelClient)


def to_answer_stream(answer: Answer) -> AnswerStream:
    """Return the stream of an answer that a generator yields, and whose summary it returns."""
    summary = PendingOutcome[AnswerSummary]()

    def chunks() -> Generator[Chunk | Reasoning, None, None]:
        summary.set((yield from answer))

    return AnswerStream(chunks(), summary)


def streams_answer(
    generate: Callable[[Model, ModelRequest], Answer],
) -> Callable[[Model, ModelRequest], AnswerStream]:
    """Turn a generator into the method `stream` of a model."""

    def stream(model: Model, request: ModelRequest) -> AnswerStream:
        return to_answer_stream(generate(model, request))

    return stream


def hanging_step() -> Event:
    """Return a step that waits until the request is cancelled."""
    return Event()


class StepModel(ModelClient):
    """Follows its steps for each request and records the requests.

    A wait also ends when the request is cancelled, as with a real client.
    """

    deterministic = True

    def __init__(
        self,
        *steps: Step,
        name: str = "parrot",
        tokens: Tokens | None = None,
        finish: FinishReason = "stop",
    ) -> None:
        self.name = name
        self.steps: Iterable[Step] = steps
        self.tokens = tokens
        self.finish: FinishReason = finish
        self.requests: list[ModelRequest] = []
        self.chunk_count = 0
        self.closed_count = 0

    def stream(self, request: ModelRequest) -> AnswerStream:
        # The attribute keeps the stream alive, so that only close() closes it.
        self.open_stream = to_answer_stream(self._stream(request))
        return self.open_stream

    def _stream(self, request: ModelRequest) -> Answer:
        self.requests.append(request)
        try:
            for step in self.steps:
                yield from self._run_step(step)
        finally:
            self.closed_count += 1
        return AnswerSummary(self.tokens, self.finish)

    def _run_step(self, step: Step) -> Generator[Chunk | Reasoning, None, None]:
        if isinstance(step, ModelError):
            raise step
        if not isinstance(step, Event):
            self.chunk_count += 1
            yield step
            return
        token = cancellation.current_token()
        if token is None:
            step.wait(30)
            return
        with token.on_cancel(step.set):
            step.wait(30)
        if token.cancelled:
            raise ModelError("Stopped.", failure="timeout")


class SequenceModel(StepModel):
    """Follows one list of steps for each request, and the last list for all further requests."""

    def __init__(self, *step_lists: Sequence[Step], tokens: Tokens | None = None) -> None:
        super().__init__(tokens=tokens)
        self._step_lists = deque(step_lists)

    def _stream(self, request: ModelRequest) -> Answer:
        self.steps = tuple(self._step_lists[0])
        if len(self._step_lists) > 1:
            self._step_lists.popleft()
        return (yield from super()._stream(request))


class HangingModel(StepModel):
    """Never sends anything."""

    def _stream(self, request: ModelRequest) -> Answer:
        yield from self._run_step(hanging_step())
        return AnswerSummary()
