"""A tenant's own texts for the sentences that VCA says, by language and name.

Of the texts for a sentence the most specific one is spoken: the tenant's phrase in the language of
the profile, the tenant's sentence for every language, VCA's own in that language.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vca.conversation import localised_phrases, speech_text
from vca.conversation.localised_phrases import PHRASES, PhraseKey
from vca.kit.errors import InvalidInput
from vca.kit.language_tags import parse_tag

MAX_TEXT_CHARS = 500
# A call loads all of them with every turn.
MAX_TOTAL_CHARS = 30_000
SENTENCE_NAMES: tuple[PhraseKey, ...] = ("over_limit", "suspended", "closed", "fallback")
DEFAULT_SENTENCES: Mapping[str, str] = {name: PHRASES[name] for name in SENTENCE_NAMES}
_BRACES = str.maketrans("", "", "{}")


@dataclass(frozen=True, slots=True)
class OwnTexts:
    """A tenant's own texts: for the four `SENTENCE_NAMES`, and for phrases by language and name."""

    sentences: Mapping[str, str]
    phrases: Mapping[str, Mapping[str, str]]

    def sentence(self, name: str, language: str | None) -> str:
        """Return the text for one of the `SENTENCE_NAMES` in the language of the profile.

        No language means English.
        """
        own_texts = {**self.sentences, **self.overrides(language)}
        key = next(key for key in SENTENCE_NAMES if key == name)
        return localised_phrases.phrase(key, language or "en", own_texts)

    def phrase(self, key: PhraseKey, language: str | None) -> str:
        """Return the text of a phrase in the language of the profile. No language means English."""
        return localised_phrases.phrase(key, language or "en", self.overrides(language))

    def overrides(self, language: str | None) -> Mapping[str, str]:
        """Return the tenant's phrases in a language, by name."""
        return localised_phrases.select_overrides(self.phrases, language)


def text_error(name: PhraseKey, text: str) -> str | None:
    """Return why the text cannot replace the sentence, or None if it can."""
    clean_text = speech_text.clean_text(text)
    if not speech_text.is_speakable(clean_text):
        return "Must contain words."
    expected = localised_phrases.placeholders(PHRASES[name])
    if localised_phrases.placeholders(text) != expected or _has_stray_braces(text, expected):
        names = ", ".join(f"{{{placeholder}}}" for placeholder in sorted(expected))
        return f"Must contain the placeholders {names}." if names else "Must not contain braces."
    if speech_text.strip_markup(text) != clean_text:
        return "Must not contain markup."
    return None


def _has_stray_braces(text: str, expected: frozenset[str]) -> bool:
    for placeholder in expected:
        text = text.replace(f"{{{placeholder}}}", "")
    return text != text.translate(_BRACES)


def merge(
    stored: Mapping[str, Mapping[str, str]], changes: Mapping[str, Mapping[str, str | None] | None]
) -> dict[str, dict[str, str]]:
    """Return the stored texts with the changes, by canonical tags.

    None in place of a text or of a language removes it. Raise InvalidInput for too much text.
    """
    merged: dict[str, dict[str, str]] = {tag: dict(texts) for tag, texts in stored.items()}
    for language, texts in changes.items():
        tag = str(parse_tag(language))
        merged[tag] = _merge_texts(merged.get(tag, {}), texts) if texts is not None else {}
    total_chars = sum(len(text) for texts in merged.values() for text in texts.values())
    if total_chars > MAX_TOTAL_CHARS:
        detail = f"All texts together can have at most {MAX_TOTAL_CHARS} characters."
        raise InvalidInput.field("phrases", detail)
    return {tag: texts for tag, texts in merged.items() if texts}


def _merge_texts(stored: Mapping[str, str], changes: Mapping[str, Any]) -> dict[str, str]:
    texts = {**stored, **changes}
    return {name: speech_text.clean_text(text) for name, text in texts.items() if text is not None}
