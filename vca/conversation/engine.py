"""Decide what the agent says next: greeting, answer of a model, or end of the call."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from math import inf
from time import monotonic

from vca.conversation import (
    localised_phrases,
    model_fallback,
    phrase_matching,
    prompt,
    response_builder,
    speech_text,
    tools,
    transcript,
)
from vca.conversation.llm import ModelRequest
from vca.conversation.llm.models import Models
from vca.conversation.transcript import Turn
from vca.conversation.types import CallFacts, EndReason, HangUp, Limits, Profile, Reply, Tokens
from vca.kit.outcome_stream import OutcomeStream, PendingOutcome

NO_LIMITS = Limits()


class ReplyStream(OutcomeStream[str, Reply]):
    """The agent's answer in chunks that can be spoken; the outcome is the reply."""


def build_greeting(profile: Profile, *, facts: CallFacts, now: datetime) -> str:
    """Return the first text of a call: the profile's greeting, or one built from its name and role.

    No model is called. `now` is timezone-aware, in the tenant's time zone.
    """
    template = profile.greeting or ""
    if prompt.has_variables(template):
        filled = prompt.fill_variables(template, profile, facts=facts, now=now)
        text = _limit_length(filled)
    else:
        text = _cached_speech_text(template)
    return text or speech_text.clean_text(localised_phrases.default_greeting(profile))


def _limit_length(text: str) -> str:
    return speech_text.join_chunks(speech_text.limit_chunks(speech_text.split_text(text)))


@lru_cache(maxsize=4096)
def _cached_speech_text(text: str) -> str:
    """Return the text within the length limit of speech.

    The result is cached because all calls to a number begin with the same greeting.
    """
    return _limit_length(text)


def stream_reply(
    profile: Profile,
    turns: Sequence[Turn],
    utterance: str,
    *,
    models: Models,
    facts: CallFacts,
    now: datetime,
    limits: Limits = NO_LIMITS,
    clock: Callable[[], float] = monotonic,
) -> ReplyStream:
    """Return the agent's answer to `utterance` as a stream of chunks that ends with the reply.

    `turns` are the call so far, greeting included, without `utterance`. `now` is timezone-aware, in
    the tenant's time zone. `clock` counts seconds and measures the latency.

    A call that is over ends without a model, and an empty utterance is answered without one. A
    caller that stops early closes the stream, which stops the model. Reading it raises ModelError
    when every model failed; some text may have been yielded before.
    """
    reason = find_end_reason(profile, turns, utterance, facts=facts, now=now, limits=limits)
    if reason is not None:
        closing_text = localised_phrases.closing_phrase(reason, profile.language, profile.phrases)
        return _fixed_reply(Reply(closing_text, (HangUp(reason),)))
    if not speech_text.clean_text(utterance):
        repeat_request = localised_phrases.phrase("again", profile.language, profile.phrases)
        return _fixed_reply(Reply(repeat_request))
    request = build_request(profile, turns, utterance, facts=facts, now=now)
    whole_reply = PendingOutcome[Reply]()
    chunks = response_builder.stream_response(
        request, models=models, clock=clock, whole_reply=whole_reply
    )
    return ReplyStream(chunks, whole_reply)


def _fixed_reply(reply: Reply) -> ReplyStream:
    """Return a reply that no model generates, in one chunk."""
    whole_reply = PendingOutcome[Reply]()

    def chunks() -> Generator[str, None, None]:
        yield reply.text
        whole_reply.set(reply)

    return ReplyStream(chunks(), whole_reply)


def generate_reply(
    profile: Profile,
    turns: Sequence[Turn],
    utterance: str,
    *,
    models: Models,
    facts: CallFacts,
    now: datetime,
    limits: Limits = NO_LIMITS,
    clock: Callable[[], float] = monotonic,
) -> Reply:
    """Return the whole reply at once; see `stream_reply`.

    There is no filler, because the caller hears nothing until the reply is complete.
    """
    models_without_filler = replace(
        models, latency_policy=replace(models.latency_policy, filler_s=inf, gather_text=True)
    )
    return stream_reply(
        profile,
        turns,
        utterance,
        models=models_without_filler,
        facts=facts,
        now=now,
        limits=limits,
        clock=clock,
    ).read_outcome()


def estimate_tokens(
    text: str,
    profile: Profile,
    turns: Sequence[Turn],
    utterance: str,
    *,
    facts: CallFacts,
    now: datetime,
    limits: Limits = NO_LIMITS,
) -> Tokens:
    """Estimate the tokens of a reply that was interrupted after `text`; see `stream_reply`.

    A reply without a model used none.
    """
    ends_call = find_end_reason(profile, turns, utterance, facts=facts, now=now, limits=limits)
    if ends_call is not None or not speech_text.clean_text(utterance):
        return Tokens()
    request = build_request(profile, turns, utterance, facts=facts, now=now)
    return model_fallback.estimate_tokens(request, text)


def find_end_reason(
    profile: Profile,
    turns: Sequence[Turn],
    utterance: str,
    *,
    facts: CallFacts,
    now: datetime,
    limits: Limits = NO_LIMITS,
) -> EndReason | None:
    """Return why the call ends with this utterance, or None if it continues.

    An end phrase takes precedence over the limits.
    """
    if phrase_matching.ends_call(profile.end_phrases, utterance, language=profile.language):
        return "agent_hangup"
    if now - facts.answered_at >= timedelta(seconds=profile.max_duration_seconds):
        return "max_duration"
    if sum(turn.speaker == "caller" for turn in turns) >= profile.max_turns:
        return "max_turns"
    if limits.tokens is not None and facts.tokens_spent >= limits.tokens:
        return "token_limit"
    is_silent = not speech_text.clean_text(utterance) and _repeat_requested(profile, turns)
    return "silence" if is_silent else None


def _repeat_requested(profile: Profile, turns: Sequence[Turn]) -> bool:
    """Return whether the caller has said nothing since the agent asked them to repeat.

    Only a request to repeat that follows another turn of the agent counts. After a turn of the
    caller the same text means that a model's answer was unusable, not that the caller was silent.
    """
    repeat_request = localised_phrases.phrase("again", profile.language, profile.phrases)
    for turn, previous in zip(reversed(turns), reversed(turns[:-1]), strict=False):
        if turn.speaker == "caller" or previous.speaker == "caller":
            return False
        if turn.text == repeat_request:
            return True
    return False


def build_request(
    profile: Profile, turns: Sequence[Turn], utterance: str, *, facts: CallFacts, now: datetime
) -> ModelRequest:
    """Return the model request for a turn; the caller's words appear in its messages only."""
    return ModelRequest(
        profile=profile,
        system=prompt.build_system_prompt(profile, facts=facts, now=now),
        messages=transcript.build_messages([*turns, Turn("caller", utterance)]),
        tools=tools.available_tools(profile),
        quoted_texts=tuple(facts.variables.values()),
    )
