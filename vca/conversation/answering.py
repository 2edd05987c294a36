"""A model's answer as it is spoken: clauses for the voice, and in the end what is done."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from vca.conversation import asking, wording
from vca.conversation.asking import Begun, Ended, Waiting
from vca.conversation.llm import ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.conversation.speech import Speech
from vca.conversation.tools import Calls
from vca.conversation.types import Action, Profile, Reply, TakeMessage, Tokens


def answer(
    request: ModelRequest, *, models: Models, clock: Callable[[], float]
) -> Generator[str, None, Reply]:
    """The answer to a request, a clause as soon as it is there; raises ModelError.

    A caller that stops early closes the generator, which stops the model.
    """
    heard = _Answer(request, clock)
    with closing(asking.ask(models, request, allows=heard.calls.allows)) as events:
        yield from heard.said(events)
    yield from heard.what_is_missing()
    return heard.reply()


class _Answer:
    """What has come of one answer so far."""

    def __init__(self, request: ModelRequest, clock: Callable[[], float]) -> None:
        self._request = request
        self._profile = request.profile
        self._clock = clock
        self._began = clock()
        self._speech = Speech()
        self._model: str | None = None
        self._tokens: Tokens | None = None
        self._latency_ms: dict[str, int] = {}
        self.calls = Calls(request.profile)

    def said(self, events: Iterable[asking.Event]) -> Iterator[str]:
        """What can be said, until the model has ended or has said enough."""
        for event in events:
            match event:
                case Begun():
                    self._begin(event.model)
                case Waiting():
                    yield self._speech.interject(wording.say("filler", self._profile.language))
                case Ended():
                    self._tokens = event.tokens
                    yield from self._speech.end(broken_off=event.broken_off)
                case _:
                    self._mark("model_first_token")
                    yield from self._taken(event)
            if self._speech.full or self.calls.full:
                break
        self._mark("model")

    def what_is_missing(self) -> Iterator[str]:
        """The words for an answer that had none."""
        if not self._speech.answered:
            language = self._profile.language
            for sentence in _instead(self._profile, self.calls.actions):
                yield self._speech.interject(wording.say(sentence, language))

    def reply(self) -> Reply:
        """All of it."""
        return Reply(
            self._speech.text,
            self.calls.actions,
            self._latency_ms,
            self._tokens or asking.estimate(self._request, self._speech.text),
            self._model,
            self.calls.refused,
        )

    def _begin(self, model: str) -> None:
        self._model = model
        self._speech.forget_the_rest()
        self.calls = Calls(self._profile)

    def _taken(self, piece: str | ToolCall) -> Iterator[str]:
        if isinstance(piece, ToolCall):
            self.calls.take(piece)
            return iter(())
        return self._speech.add(piece)

    def _mark(self, what: str) -> None:
        if what not in self._latency_ms:
            self._latency_ms[what] = round((self._clock() - self._began) * 1000)


def _instead(profile: Profile, actions: tuple[Action, ...]) -> list[wording.Sentence]:
    """What is said where the model only acted, or did nothing at all."""
    if not actions:
        return ["again"]
    noted: list[wording.Sentence] = ["noted"] if isinstance(actions[0], TakeMessage) else []
    match actions[-1].kind:
        case "hang_up":
            return [*noted, "goodbye"]
        case "transfer" | "to_fallback":
            return [*noted, "connecting"]
        case _:
            return [*noted, "anything_else"]
