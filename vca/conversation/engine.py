"""What the agent says next: greets, answers through a model, and ends a call that is over."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from math import inf
from time import monotonic

from vca.conversation import answering, phrases, prompt, spoken, tools, transcript, wording
from vca.conversation.llm import ModelRequest
from vca.conversation.llm.models import Models
from vca.conversation.transcript import Turn
from vca.conversation.types import CallFacts, EndReason, HangUp, Limits, Profile, Reply

NO_LIMITS = Limits()


def greeting(profile: Profile, *, facts: CallFacts, now: datetime) -> str:
    """The call's first sentence: the profile's own, else one for its name and role; no model.

    `now` is aware, in the tenant's zone.
    """
    own = profile.greeting or ""
    if prompt.has_variables(own):
        said = _bounded(prompt.filled(own, prompt.values(facts, now)))
    else:
        said = _as_spoken(own)
    return said or spoken.clean(wording.greeting(profile))


def _bounded(text: str) -> str:
    return spoken.joined(spoken.bounded(spoken.sentences(text)))


@lru_cache(maxsize=4096)
def _as_spoken(text: str) -> str:
    """A text bounded like all speech; kept, because a number's calls all begin with the same."""
    return _bounded(text)


def converse(
    profile: Profile,
    turns: Sequence[Turn],
    heard: str,
    *,
    models: Models,
    facts: CallFacts,
    now: datetime,
    limits: Limits = NO_LIMITS,
    clock: Callable[[], float] = monotonic,
) -> Generator[str, None, Reply]:
    """What the agent says to what it has just heard, by the clause; returns the whole reply.

    `turns` are the call so far, greeting included, without `heard`; `now` is aware, in the tenant's
    zone; `clock` counts seconds for the latency. A call that is over ends without asking a model,
    and a turn in which nothing was said asks none either. A caller that stops early closes the
    generator: the model is stopped. Raises ModelError when every model failed, which can be after
    something was said.
    """
    reason = end_reason(profile, turns, heard, facts=facts, now=now, limits=limits)
    if reason is not None:
        last_words = wording.closing(reason, profile.language)
        yield last_words
        return Reply(last_words, (HangUp(reason),))
    if not spoken.clean(heard):
        again = wording.say("again", profile.language)
        yield again
        return Reply(again)
    request = ask(profile, turns, heard, facts=facts, now=now)
    return (yield from answering.answer(request, models=models, clock=clock))


def reply(
    profile: Profile,
    turns: Sequence[Turn],
    heard: str,
    *,
    models: Models,
    facts: CallFacts,
    now: datetime,
    limits: Limits = NO_LIMITS,
    clock: Callable[[], float] = monotonic,
) -> Reply:
    """As `converse`, all at once; without a filler, since nothing of it can be heard meanwhile."""
    quiet = replace(models, patience=replace(models.patience, filler_s=inf))
    said = converse(
        profile, turns, heard, models=quiet, facts=facts, now=now, limits=limits, clock=clock
    )
    while True:
        try:
            next(said)
        except StopIteration as end:
            whole: Reply = end.value
            return whole


def end_reason(
    profile: Profile,
    turns: Sequence[Turn],
    heard: str,
    *,
    facts: CallFacts,
    now: datetime,
    limits: Limits = NO_LIMITS,
) -> EndReason | None:
    """Why the call is over once `heard` was said, None while it goes on; a goodbye comes first."""
    if phrases.is_said(profile.end_phrases, heard):
        return "agent_hangup"
    if now - facts.answered_at >= timedelta(seconds=profile.max_duration_seconds):
        return "max_duration"
    if sum(turn.speaker == "caller" for turn in turns) >= profile.max_turns:
        return "max_turns"
    if limits.tokens is not None and facts.tokens_spent >= limits.tokens:
        return "token_limit"
    silent = not spoken.clean(heard) and _was_asked_again(profile, turns)
    return "silence" if silent else None


def _was_asked_again(profile: Profile, turns: Sequence[Turn]) -> bool:
    """Whether the caller has said nothing since the agent asked because nothing was heard.

    That question follows a turn of the agent's own; after a caller's turn it was a model's answer
    that nobody could have understood.
    """
    again = wording.say("again", profile.language)
    for turn, before in zip(reversed(turns), reversed(turns[:-1]), strict=False):
        if turn.speaker == "caller" or before.speaker == "caller":
            return False
        if turn.text == again:
            return True
    return False


def ask(
    profile: Profile, turns: Sequence[Turn], heard: str, *, facts: CallFacts, now: datetime
) -> ModelRequest:
    """The question that a turn puts to a model; the caller's words are in its messages only."""
    return ModelRequest(
        profile=profile,
        system=prompt.system(profile, facts=facts, now=now),
        messages=transcript.messages([*turns, Turn("caller", heard)]),
        tools=tools.offered(profile),
    )
