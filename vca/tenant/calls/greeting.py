"""An agent's first words, and what they may tell of a call that is not recorded yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row

from vca.conversation import engine
from vca.conversation.types import CallFacts
from vca.telephony.types import Action, CallMetadata, Listen, Record, Say
from vca.tenant.calls import profiles

DEFAULT_CONSENT = "This call is recorded."


@dataclass(frozen=True)
class RingFacts:
    """What a greeting may tell of a call that is not recorded yet, as `record.talk` has it."""

    metadata: CallMetadata
    found: Row[Any]
    decided: Mapping[str, str]

    @property
    def facts(self) -> CallFacts:
        told = self.metadata
        variables = {**self.found.variables, **self.decided}
        return CallFacts(
            told.caller_number, told.called_number, told.timestamp, variables=variables
        )

    @property
    def time_zone(self) -> str:
        return str(self.found.time_zone)


def first_words(
    profile: Mapping[str, Any], talk: Any, *, now: datetime
) -> tuple[str, tuple[Action, ...]]:
    """What an agent says first, all of it, and how."""
    zone = ZoneInfo(talk.time_zone)
    facts = talk.facts if isinstance(talk, RingFacts) else profiles.facts_of(talk, at=now)
    greeting = engine.greeting(
        profiles.conversational(profile), facts=facts, now=now.astimezone(zone)
    )
    words = f"{_consent(profile)} {greeting}" if profile["recording"] else greeting
    return words, as_said(profile, words)


def as_said(profile: Mapping[str, Any], words: str) -> tuple[Action, ...]:
    """An agent's first words, and how they are said: consent comes before the tape begins."""
    language, voice = profile["language"], profile["voice"]
    if not profile["recording"]:
        return Say(words, language, voice), listen(profile)
    consent = _consent(profile)
    greeting = words.removeprefix(consent).lstrip()
    first, then = Say(consent, language, voice), Say(greeting, language, voice)
    return first, Record(), then, listen(profile)


def _consent(profile: Mapping[str, Any]) -> str:
    return profile["consent_sentence"] or DEFAULT_CONSENT


def listen(profile: Mapping[str, Any]) -> Listen:
    """Wait for the caller for as long as the profile says."""
    return Listen(profile["silence_seconds"] or profiles.SILENCE_S, profile["language"])
