"""Build an agent's greeting, also for a call that is not recorded yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from vca.conversation import engine, localised_phrases, speech_text
from vca.conversation.types import CallFacts
from vca.kit import json
from vca.telephony.types import CallMetadata, Listen, PlainAction, Record, Say
from vca.tenant.calls.routing.number_config import NumberConfig
from vca.tenant.calls.turns import conversation_inputs, spoken_language


@dataclass(frozen=True)
class InboundCallContext:
    """What a greeting may use of a call that is not recorded yet.

    Has the attributes of `record.lock_call_context` that a greeting reads.
    """

    metadata: CallMetadata
    config: NumberConfig
    webhook_variables: Mapping[str, str]

    @property
    def facts(self) -> CallFacts:
        """The facts of the call that the prompt may mention."""
        metadata = self.metadata
        variables = {**self.config.variables, **self.webhook_variables}
        config = self.config
        own_hours = config.number_hours is not None
        stored_hours = config.number_hours if own_hours else config.tenant_hours
        return CallFacts(
            metadata.caller_number,
            metadata.called_number,
            metadata.timestamp,
            variables=variables,
            hours=conversation_inputs.to_opening_hours(
                None if stored_hours is None else json.dumps(stored_hours),
                time_zone=self.time_zone,
                moment=metadata.timestamp,
            ),
        )

    @property
    def time_zone(self) -> str:
        """The tenant's time zone."""
        return self.config.time_zone

    @property
    def phrases(self) -> Mapping[str, Any]:
        """The tenant's own texts for VCA's sentences, by language."""
        return self.config.phrases


def build_greeting(
    profile: Mapping[str, Any], call_context: Any, *, now: datetime
) -> tuple[str, tuple[PlainAction, ...]]:
    """Return the text of the greeting and the actions that speak it."""
    zone = ZoneInfo(call_context.time_zone)
    facts = (
        call_context.facts
        if isinstance(call_context, InboundCallContext)
        else conversation_inputs.to_call_facts(call_context, now=now)
    )
    greeting = engine.build_greeting(
        conversation_inputs.to_conversation_profile(profile, call_context.phrases),
        facts=facts,
        now=now.astimezone(zone),
    )
    phrases = call_context.phrases
    consent = [_consent_sentence(profile, phrases)] if profile["recording"] else []
    text = speech_text.join_chunks([*consent, greeting])
    return text, greeting_actions(profile, text, phrases)


def greeting_actions(
    profile: Mapping[str, Any], text: str, phrases: Mapping[str, Any]
) -> tuple[PlainAction, ...]:
    """Return the actions that speak the greeting. The consent sentence precedes the recording."""
    language, voice = profile["language"], profile["voice"]
    if not profile["recording"]:
        return Say(text, language, voice), listen_action(profile)
    consent = _consent_sentence(profile, phrases)
    greeting = text.removeprefix(consent).lstrip()
    say_consent, say_greeting = Say(consent, language, voice), Say(greeting, language, voice)
    return say_consent, Record(), say_greeting, listen_action(profile)


def _consent_sentence(profile: Mapping[str, Any], phrases: Mapping[str, Any]) -> str:
    if profile["consent_sentence"]:
        return str(profile["consent_sentence"])
    language = profile["language"] or "en"
    overrides = localised_phrases.select_overrides(phrases, language)
    return localised_phrases.phrase("consent", language, overrides)


def listen_action(profile: Mapping[str, Any]) -> Listen:
    """Return a Listen action with the profile's silence timeout and turn settings."""
    return Listen(
        profile["silence_seconds"] or conversation_inputs.DEFAULT_SILENCE_S,
        profile["language"],
        spoken_language.turn_settings(profile),
    )
