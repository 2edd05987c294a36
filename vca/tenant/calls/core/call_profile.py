"""The AI profile that answers a call, as typed values.

A call keeps the version of the profile that it began with. Versions that an earlier release stored
lack the fields that were added later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from vca.conversation import redaction
from vca.conversation.redaction import Redaction
from vca.conversation.types import Profile
from vca.kit import json
from vca.telephony.turn_settings import TURN_FIELDS, SpokenLanguage, TurnSettings
from vca.telephony.types import Listen, Say

DEFAULT_LANGUAGE = "en"
DEFAULT_SILENCE_S = 10
# The key of the profile's own language and voice in the fields that replace them.
MAIN_LANGUAGE_KEY = "main_language"
# Fields that the conversation's profile has under the same name, in the same form.
_PLAIN_FIELDS = (
    "name",
    "role",
    "system_prompt",
    "greeting",
    "language",
    "model",
    "temperature",
    "max_turns",
    "max_duration_seconds",
)
# Calls of the same profile share one value. The text of a profile has up to some ten kilobytes.
_CACHED_PROFILES = 512


@dataclass(frozen=True, slots=True)
class CallProfile:
    """What a call needs of its profile.

    - `conversation`: the part that the conversation needs, without the tenant's own phrases.
    - `language`, `voice`: those that the call uses now. None leaves them to the carrier.
    - `main_language`: the profile's own language and voice, whatever the caller speaks.
    - `target_numbers`: the phone numbers of the transfer targets, by name.
    - `max_duration_s`: None leaves it to the conversation.
    - `extract`: the JSON Schema of the data that the analysis extracts.
    """

    conversation: Profile
    language: str | None
    voice: str | None
    main_language: SpokenLanguage
    silence_s: int
    turn: TurnSettings
    is_recorded: bool
    consent_sentence: str | None
    redaction: Redaction
    target_numbers: Mapping[str, str]
    max_duration_s: int | None
    extract: Mapping[str, Any] | None

    @property
    def current_language(self) -> SpokenLanguage:
        """The language and voice that the call uses now."""
        return SpokenLanguage(self.language or DEFAULT_LANGUAGE, self.voice)

    @property
    def languages(self) -> tuple[SpokenLanguage, ...]:
        """The languages that the call may change to, or none if it has only one."""
        return self.turn.languages

    def in_main_language(self) -> "CallProfile":
        """Return the profile as its tenant wrote it, for texts that the tenant reads."""
        main = self.main_language
        if main == self.current_language:
            return self
        conversation = replace(self.conversation, language=main.language)
        return replace(self, conversation=conversation, language=main.language, voice=main.voice)

    def say(self, text: str) -> Say:
        """Return the action that says a text in the language and voice of the call."""
        return Say(text, self.language, self.voice)

    def listen(self) -> Listen:
        """Return the action that waits for the caller."""
        return Listen(self.silence_s, self.language, self.turn)


@lru_cache(maxsize=_CACHED_PROFILES)
def parse_profile(text: str) -> CallProfile:
    """Return the profile in a JSON document; equal documents give the same object."""
    return profile_from_fields(json.loads(text))


def profile_from_fields(fields: Mapping[str, Any]) -> CallProfile:
    """Return the profile with these stored fields. Unset fields keep their defaults."""
    language, voice = fields["language"], fields["voice"]
    main_fields = fields.get(MAIN_LANGUAGE_KEY) or fields
    main = SpokenLanguage(main_fields["language"] or DEFAULT_LANGUAGE, main_fields["voice"])
    targets: Mapping[str, Mapping[str, str]] = fields.get("transfer_targets") or {}
    return CallProfile(
        conversation=_conversation_profile(fields, targets),
        language=language,
        voice=voice,
        main_language=main,
        silence_s=fields.get("silence_seconds") or DEFAULT_SILENCE_S,
        turn=_turn_settings(fields.get("turn") or {}, main),
        is_recorded=bool(fields.get("recording")),
        consent_sentence=fields.get("consent_sentence") or None,
        redaction=redaction.from_profile(fields.get("redaction")),
        target_numbers={name: target["number"] for name, target in targets.items()},
        max_duration_s=fields.get("max_duration_seconds") or None,
        extract=fields.get("extract"),
    )


def _conversation_profile(
    fields: Mapping[str, Any], targets: Mapping[str, Mapping[str, str]]
) -> Profile:
    """Return the conversation's part, which never contains a transfer target's number."""
    values = {name: fields[name] for name in _PLAIN_FIELDS if fields.get(name) is not None}
    return Profile(
        **values,
        end_phrases=tuple(fields.get("end_phrases") or ()),
        tools=tuple(fields.get("tools") or ()),
        transfer_targets={name: target.get("description", "") for name, target in targets.items()},
    )


def _turn_settings(stored: Mapping[str, Any], main: SpokenLanguage) -> TurnSettings:
    """Return the turn settings. Fields of a newer release are ignored."""
    values = {name: value for name, value in stored.items() if name in TURN_FIELDS}
    return TurnSettings(**{**values, "languages": _languages(stored.get("languages", ()), main)})


def _languages(
    stored: Sequence[Mapping[str, str]], main: SpokenLanguage
) -> tuple[SpokenLanguage, ...]:
    others = [SpokenLanguage(**item) for item in stored]
    others = [item for item in others if item.language.lower() != main.language.lower()]
    return (main, *others) if others else ()
