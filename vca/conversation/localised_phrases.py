"""The sentences that VCA itself says to callers, in the language of the profile.

`PHRASES` has the English texts. Translations are gettext catalogues in `locale/`, where a
sentence's name is its context and the English text its id. A language without a catalogue gets
English. A tenant's own texts take precedence: functions take them as `overrides`.
"""

import gettext
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from vca.conversation import speech_text
from vca.conversation.types import EndReason, Profile
from vca.kit.language_tags import LanguageTag, nearest_tag, parse_tag

PhraseKey: TypeAlias = Literal[
    "again",
    "filler",
    "noted",
    "anything_else",
    "connecting",
    "not_connected",
    "not_done",
    "cut_off",
    "cannot_help",
    "leave_message",
    "silence",
    "goodbye",
    "limit",
    "hello",
    "hello_with_name",
    "offer_receptionist",
    "offer_sales",
    "offer_support",
    "offer_dispatcher",
    "offer_custom",
    "consent",
    "over_limit",
    "suspended",
    "closed",
    "fallback",
]
PHRASE_KEYS: tuple[PhraseKey, ...] = get_args(PhraseKey)
PHRASES: Mapping[PhraseKey, str] = {
    "again": "Sorry, I did not catch that. Could you say it again?",
    "filler": "One moment, please.",
    "noted": "Thank you, I have noted that.",
    "anything_else": "Is there anything else I can do for you?",
    "connecting": "One moment, I am connecting you.",
    "not_connected": "I am sorry, nobody could be reached there. What else can I do for you?",
    "leave_message": "I am sorry, nobody could be reached there. May I take a message?",
    "silence": "I am sorry, I cannot hear you. Please call again. Goodbye.",
    "goodbye": "Thank you for calling. Goodbye.",
    "limit": "I am sorry, this call has reached its limit. Thank you for calling. Goodbye.",
    "not_done": "I am sorry, that did not work.",
    "cut_off": "I am sorry, I have to stop here. What else can I do for you?",
    "cannot_help": "I am sorry, I cannot help with that. What else can I do for you?",
    "hello": "Hello.",
    "hello_with_name": "Hello, this is {name}.",
    "offer_receptionist": "How may I help you?",
    "offer_sales": "What are you looking for?",
    "offer_support": "What can I help you with?",
    "offer_dispatcher": "What has happened, and where are you?",
    "offer_custom": "How can I help you?",
    "consent": "This call is recorded.",
    "over_limit": "All our lines are busy at the moment. Please call again in a few minutes.",
    "suspended": "This number is not available at the moment. Goodbye.",
    "closed": "We are closed at the moment. Please call again later. Goodbye.",
    "fallback": ("I am sorry, something went wrong on our side. Please call again later. Goodbye."),
}
DOMAIN = "vca"
LOCALE_FOLDER = Path(__file__).parent / "locale"
NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})
_SOURCE_LANGUAGE = "en"
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


def phrase(key: PhraseKey, language: str, overrides: Mapping[str, str] = NO_OVERRIDES) -> str:
    """Return the tenant's text, or the one in the language of the BCP 47 tag, or in English."""
    return overrides.get(key) or _translations(language)[key]


def closing_phrase(
    reason: EndReason, language: str, overrides: Mapping[str, str] = NO_OVERRIDES
) -> str:
    """Return the last phrase before the agent hangs up, for the end reason."""
    match reason:
        case "agent_hangup":
            return phrase("goodbye", language, overrides)
        case "silence":
            return phrase("silence", language, overrides)
        case _:
            return phrase("limit", language, overrides)


def default_greeting(profile: Profile) -> str:
    """Return a greeting for a profile without one: its name, if any, and the role's offer."""
    # A profile without a name is named after its role, which makes no sense to a caller.
    is_nameless = profile.name.strip().casefold() in ("", profile.role)
    key: PhraseKey = "hello" if is_nameless else "hello_with_name"
    hello = phrase(key, profile.language, profile.phrases).replace("{name}", profile.name)
    offer = phrase(_OFFERS[profile.role], profile.language, profile.phrases)
    return speech_text.join_chunks([hello, offer])


_OFFERS: Mapping[str, PhraseKey] = {
    key.removeprefix("offer_"): key for key in PHRASE_KEYS if key.startswith("offer_")
}


def select_overrides(
    phrases: Mapping[str, Mapping[str, str]], language: str | None
) -> Mapping[str, str]:
    """Return a tenant's texts for a language, from its texts by language tag.

    Texts of the nearest tag come first, then those of the language without a region.
    """
    tag = parse_tag(language or _SOURCE_LANGUAGE) if phrases else None
    if tag is None:
        return NO_OVERRIDES
    candidates = [candidate for text in phrases if (candidate := parse_tag(text)) is not None]
    nearest = nearest_tag(tag, candidates)
    if nearest is None:
        return NO_OVERRIDES
    return {**phrases.get(nearest.language, {}), **phrases.get(str(nearest), {})}


def placeholders(text: str) -> frozenset[str]:
    """Return the names of the placeholders in a text, such as `name` for `{name}`."""
    return frozenset(_PLACEHOLDER.findall(text))


@lru_cache(maxsize=1)
def translated_languages() -> tuple[str, ...]:
    """Return the tags of the languages that have a catalogue, without English, sorted."""
    files = LOCALE_FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.mo")
    return tuple(sorted(path.parts[-3].replace("_", "-") for path in files))


@lru_cache(maxsize=1024)
def _translations(language: str) -> Mapping[PhraseKey, str]:
    """Return all sentences in the nearest language that has a catalogue, or in English."""
    tag = parse_tag(language)
    candidates = [*map(_known_tag, translated_languages()), LanguageTag(_SOURCE_LANGUAGE)]
    nearest = nearest_tag(tag, candidates) if tag is not None else None
    return _load_catalogue(str(nearest) if nearest is not None else _SOURCE_LANGUAGE)


def _known_tag(text: str) -> LanguageTag:
    tag = parse_tag(text)
    assert tag is not None, f"{text} is not a language tag"
    return tag


@lru_cache(maxsize=128)
def _load_catalogue(language: str) -> Mapping[PhraseKey, str]:
    if language == _SOURCE_LANGUAGE:
        return PHRASES
    folder = LOCALE_FOLDER / language.replace("-", "_") / "LC_MESSAGES"
    with (folder / f"{DOMAIN}.mo").open("rb") as file:
        catalogue = gettext.GNUTranslations(file)
    return {key: catalogue.pgettext(key, text) for key, text in PHRASES.items()}
