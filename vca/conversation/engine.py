"""What the agent says next: greets, answers through a model, and ends a call that is over."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import lru_cache
from time import monotonic

from vca.conversation import phrases, prompt, spoken, transcript, wording
from vca.conversation.llm import ModelClient, ModelRequest
from vca.conversation.transcript import Turn
from vca.conversation.types import CallFacts, EndReason, HangUp, Profile, Reply


def greeting(profile: Profile) -> str:
    """The call's first sentence: the profile's own, else one for its name and role; no model."""
    return _as_spoken(profile.greeting or "") or spoken.clean(wording.greeting(profile))


@lru_cache(maxsize=4096)
def _as_spoken(text: str) -> str:
    """A text bounded like all speech; kept, because a number's calls all begin with the same."""
    return spoken.joined(spoken.bounded(spoken.sentences([text])))


def reply(
    profile: Profile,
    turns: Sequence[Turn],
    heard: str,
    *,
    model: ModelClient,
    facts: CallFacts,
    now: datetime,
    clock: Callable[[], float] = monotonic,
) -> Reply:
    """What the agent says to what it has just heard, and what it does then.

    `turns` are the call so far, greeting included, without `heard`; `now` is aware, in the tenant's
    zone; `clock` counts seconds for the latency. A call that is over ends without asking the model,
    and so does a turn in which nothing was said. Raises ModelError when the model fails.
    """
    reason = end_reason(profile, turns, heard, facts=facts, now=now)
    if reason is not None:
        return Reply(wording.closing(reason, profile.language), (HangUp(reason),))
    again = wording.say("again", profile.language)
    if not spoken.clean(heard):
        return Reply(again)
    request = ask(profile, turns, heard, facts=facts, now=now)
    latency_ms: dict[str, int] = {}
    text = spoken.joined(speak(model, request, clock=clock, latency_ms=latency_ms))
    return Reply(text or again, latency_ms=latency_ms)


def end_reason(
    profile: Profile, turns: Sequence[Turn], heard: str, *, facts: CallFacts, now: datetime
) -> EndReason | None:
    """Why the call is over once `heard` was said, None while it goes on; a goodbye comes first."""
    if phrases.is_said(profile.end_phrases, heard):
        return "agent_hangup"
    if now - facts.answered_at >= timedelta(seconds=profile.max_duration_seconds):
        return "max_duration"
    answered = sum(turn.speaker == "caller" for turn in turns)
    return "max_turns" if answered >= profile.max_turns else None


def ask(
    profile: Profile, turns: Sequence[Turn], heard: str, *, facts: CallFacts, now: datetime
) -> ModelRequest:
    """The question that a turn puts to a model; the caller's words are in its messages only."""
    return ModelRequest(
        profile=profile,
        system=prompt.system(profile, facts=facts, now=now),
        messages=transcript.messages([*turns, Turn("caller", heard)]),
    )


def speak(
    model: ModelClient,
    request: ModelRequest,
    *,
    clock: Callable[[], float],
    latency_ms: dict[str, int],
) -> Iterator[str]:
    """The model's answer, a sentence as soon as it is there, all within `spoken.MAX_CHARS`.

    Fills `latency_ms` on the way. The model is stopped when enough was said or the consumer closes
    the iterator.
    """
    began = clock()
    with closing(model.stream(request)) as pieces:
        timed = _timed(pieces, clock=clock, began=began, latency_ms=latency_ms)
        yield from spoken.bounded(spoken.sentences(timed))
    latency_ms["model"] = _ms(clock() - began)


def _timed(
    pieces: Iterator[str], *, clock: Callable[[], float], began: float, latency_ms: dict[str, int]
) -> Iterator[str]:
    for piece in pieces:
        if "model_first_token" not in latency_ms:
            latency_ms["model_first_token"] = _ms(clock() - began)
        yield piece


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
