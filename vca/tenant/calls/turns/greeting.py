"""Build an agent's greeting, also for a call that is not recorded yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row

from vca.conversation import engine
from vca.conversation.types import CallFacts
from vca.telephony.types import Action, CallMetadata, Listen, Record, Say
from vca.tenant.calls.turns import conversation_inputs, spoken_language

DEFAULT_CONSENT = "This call is recorded."


@dataclass(frozen=True)
class InboundCallContext:
    """What a greeting may use of a call that is not recorded yet.

    Has the attributes of `record.lock_call_context` that a greeting reads.
    """

    metadata: CallMetadata
    config: Row[Any]
    webhook_variables: Mapping[str, str]

    @property
    def facts(self) -> CallFacts:
        """The facts of the call that the prompt may mention."""
        metadata = self.metadata
        variables = {**self.config.variables, **self.webhook_variables}
        return CallFacts(
            metadata.caller_number, metadata.called_number, metadata.timestamp, variables=variables
        )

    @property
    def time_zone(self) -> str:
        """The tenant's time zone."""
        return str(self.config.time_zone)


def build_greeting(
    profile: Mapping[str, Any], call_context: Any, *, now: datetime
) -> tuple[str, tuple[Action, ...]]:
    """Return the text of the greeting and the actions that speak it."""
    zone = ZoneInfo(call_context.time_zone)
    facts = (
        call_context.facts
        if isinstance(call_context, InboundCallContext)
        else conversation_inputs.to_call_facts(call_context, now=now)
    )
    greeting = engine.build_greeting(
        conversation_inputs.to_conversation_profile(profile), facts=facts, now=now.astimezone(zone)
    )
    text = f"{_consent_sentence(profile)} {greeting}" if profile["recording"] else greeting
    return text, greeting_actions(profile, text)


def greeting_actions(profile: Mapping[str, Any], text: str) -> tuple[Action, ...]:
    """Return the actions that speak the greeting. The consent sentence precedes the recording."""
    language, voice = profile["language"], profile["voice"]
    if not profile["recording"]:
        return Say(text, language, voice), listen_action(profile)
    consent = _consent_sentence(profile)
    greeting = text.removeprefix(consent).lstrip()
    say_consent, say_greeting = Say(consent, language, voice), Say(greeting, language, voice)
    return say_consent, Record(), say_greeting, listen_action(profile)


def _consent_sentence(profile: Mapping[str, Any]) -> str:
    return profile["consent_sentence"] or DEFAULT_CONSENT


def listen_action(profile: Mapping[str, Any]) -> Listen:
    """Return a Listen action with the profile's silence timeout and turn settings."""
    return Listen(
        profile["silence_seconds"] or conversation_inputs.DEFAULT_SILENCE_S,
        profile["language"],
        spoken_language.turn_settings(profile),
    )
