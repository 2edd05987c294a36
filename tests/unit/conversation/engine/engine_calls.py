"""Calls of the engine with a profile, the facts of a call and a fixed time."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from vca.conversation import engine
from vca.conversation.llm import ModelClient
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.conversation.transcript import Turn
from vca.conversation.types import CallFacts, Limits, Profile, Reply

ANSWERED_AT = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
FACTS = CallFacts("+14155550100", "+442079460000", ANSWERED_AT)
PROFILE = Profile(
    "Ada",
    "receptionist",
    "We are Acme.",
    max_turns=3,
    max_duration_seconds=600,
    end_phrases=("goodbye", "that's all"),
)


def generate_reply(
    utterance: str,
    *turns: Turn,
    model: ModelClient,
    profile: Profile = PROFILE,
    after_s: float = 60,
    limits: Limits = engine.NO_LIMITS,
    tokens_spent: int = 0,
    variables: Mapping[str, str] | None = None,
    latency_policy: LatencyPolicy | None = None,
) -> Reply:
    clock_seconds = count()
    return engine.generate_reply(
        profile,
        turns,
        utterance,
        models=Models(model, latency_policy=latency_policy or LatencyPolicy()),
        facts=replace(FACTS, tokens_spent=tokens_spent, variables=variables or {}),
        now=ANSWERED_AT + timedelta(seconds=after_s),
        limits=limits,
        clock=lambda: float(next(clock_seconds)),
    )


def build_greeting(profile: Profile) -> str:
    return engine.build_greeting(profile, facts=FACTS, now=ANSWERED_AT)
