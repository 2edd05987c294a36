"""The languages and voices of a carrier, by BCP 47 tag.

A profile may name a language or a voice that its carrier does not have: it was saved for another
carrier, or before VCA checked languages. The carrier then gets the nearest value that it knows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vca.kit.language_tags import LanguageTag, nearest_tag, parse_tag

DEFAULT_LANGUAGE = "en"


class LanguageValues:
    """A carrier's values for one use, such as speech recognition, by language tag.

    Where a language has several values, the first one serves regions that are not in the table.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values: dict[LanguageTag, str] = {}
        self._tags: dict[str, list[LanguageTag]] = {}
        for text, value in values.items():
            tag = parse_tag(text)
            if tag is None:
                raise ValueError(f"{text} is not a language tag")
            self._values[tag] = value
            self._tags.setdefault(tag.language, []).append(tag)
        self.values = frozenset(self._values.values())
        self.tags = tuple(map(str, self._values))

    def nearest_tag(self, language: str | None) -> str | None:
        """Return the nearest tag of the same language, or None. No language means English."""
        tag = parse_tag(language or DEFAULT_LANGUAGE)
        nearest = self._nearest(tag) if tag is not None else None
        return str(nearest) if nearest is not None else None

    def choose_tag(self, language: str | None) -> str:
        """Return the nearest tag of the same language, else of English."""
        tag = self.nearest_tag(language) or self.nearest_tag(DEFAULT_LANGUAGE)
        assert tag is not None, "every carrier speaks English"
        return tag

    def choose(self, language: str | None) -> str:
        """Return the value of the nearest tag of the same language, else of English."""
        tag = parse_tag(self.choose_tag(language))
        assert tag is not None
        return self._values[tag]

    def _nearest(self, tag: LanguageTag) -> LanguageTag | None:
        if tag in self._values:
            return tag
        return nearest_tag(tag, self._tags.get(tag.language, ())) or nearest_tag(
            tag, tuple(self._values)
        )


@dataclass(frozen=True)
class Voice:
    """A voice by the carrier's name for it.

    `locales` are the carrier's tags of the languages that it speaks, the main one first. A voice
    without any speaks every language.
    """

    name: str
    locales: tuple[str, ...] = ()

    def speaks(self, language: str | None) -> bool:
        """Return whether the voice speaks the language of the tag, in whatever region."""
        return not self.locales or self._values().nearest_tag(language) is not None

    def locale_for(self, language: str | None) -> str | None:
        """Return which of its locales the voice speaks for this language, or None for any."""
        return self._values().choose(language) if self.locales else None

    def _values(self) -> LanguageValues:
        return LanguageValues({locale: locale for locale in self.locales})


@dataclass(frozen=True, eq=False)
class LanguageTable:
    """The languages and voices of one carrier.

    - `recognition`: its values for the caller's language.
    - `speech`: its values for the agent's language.
    - `find_voice`: returns the voice that a profile names, or None if the carrier lacks it.
    - `example_voices`: voices that a tenant can choose, for error messages.
    """

    recognition: LanguageValues
    speech: LanguageValues
    find_voice: Callable[[str], Voice | None]
    example_voices: tuple[Voice, ...]

    def speaks(self, language: str | None) -> bool:
        """Return whether the carrier both understands and speaks the language of the tag."""
        return (
            self.recognition.nearest_tag(language) is not None
            and self.speech.nearest_tag(language) is not None
        )

    def tags(self) -> tuple[str, ...]:
        """Return the tags of all languages that the carrier both understands and speaks."""
        spoken_tags = {*self.recognition.tags, *self.speech.tags}
        return tuple(sorted(tag for tag in spoken_tags if self.speaks(tag)))

    def has_voice(self, name: str, language: str | None) -> bool:
        """Return whether the carrier has this voice and the voice speaks the language."""
        return self.choose_voice(name, language) is not None

    def choose_voice(self, name: str | None, language: str | None) -> Voice | None:
        """Return the voice with this name, or None if it is unknown or speaks another language."""
        voice = self.find_voice(name) if name else None
        return voice if voice is not None and voice.speaks(language) else None

    def voices_for(self, language: str | None) -> tuple[str, ...]:
        """Return the names of the example voices that speak the language."""
        return tuple(voice.name for voice in self.example_voices if voice.speaks(language))
