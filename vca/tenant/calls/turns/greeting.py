"""Build an agent's greeting, also for a call that is not recorded yet."""

from datetime import datetime

from vca.conversation import engine, speech_text
from vca.conversation.types import CallFacts
from vca.telephony.types import PlainAction, Record
from vca.tenant.calls.core.call_profile import CallProfile
from vca.tenant.calls.turns import conversation_inputs
from vca.tenant.settings.phrases import OwnTexts


def build_greeting(
    profile: CallProfile, *, facts: CallFacts, texts: OwnTexts, now: datetime
) -> tuple[str, tuple[PlainAction, ...]]:
    """Return the text of the greeting and the actions that speak it.

    `now` is in the tenant's time zone.
    """
    greeting = engine.build_greeting(
        conversation_inputs.to_conversation_profile(profile, texts), facts=facts, now=now
    )
    consent = [_consent_sentence(profile, texts)] if profile.is_recorded else []
    text = speech_text.join_chunks([*consent, greeting])
    return text, greeting_actions(profile, text, texts)


def greeting_actions(profile: CallProfile, text: str, texts: OwnTexts) -> tuple[PlainAction, ...]:
    """Return the actions that speak the greeting. The consent sentence precedes the recording."""
    if not profile.is_recorded:
        return profile.say(text), profile.listen()
    consent = _consent_sentence(profile, texts)
    greeting = text.removeprefix(consent).lstrip()
    return profile.say(consent), Record(), profile.say(greeting), profile.listen()


def _consent_sentence(profile: CallProfile, texts: OwnTexts) -> str:
    return profile.consent_sentence or texts.phrase("consent", profile.language)
