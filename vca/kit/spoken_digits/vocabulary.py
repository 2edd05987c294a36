"""The words of all languages by their normalized form, and the parts of words written as one."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import chain

from vca.kit.spoken_digits.language import Language, entries
from vca.kit.spoken_digits.other_languages import SPACED, UNSPACED
from vca.kit.spoken_digits.paired_languages import ENGLISH_HOMOPHONES, LANGUAGES

ALL_LANGUAGES = (*LANGUAGES, *SPACED, *UNSPACED)
LANGUAGE_CODES = frozenset(language.code for language in ALL_LANGUAGES) - {ENGLISH_HOMOPHONES.code}
# Thai is the first of the alphabets without spaces between words.
_FIRST_UNSPACED = 0xE00
# No number is longer as one word.
_MIN_COMPOUND_LENGTH, _MAX_COMPOUND_LENGTH = 4, 60
# Letters that are written in several ways, after accents are removed.
_LETTER_VARIANTS = str.maketrans(
    {"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ة": "ه", "ى": "ي", "ँ": "ं", "ʼ": None, "ـ": None}
)
# Accents of Latin, Greek and Cyrillic letters, vowel points of Hebrew and Arabic, and the nukta.
_ACCENT_RANGES = ((0x300, 0x36F), (0x591, 0x5C7), (0x610, 0x61A), (0x64B, 0x65F), (0x670, 0x670))
_ACCENTS = dict.fromkeys(
    [0x93C, 0x200C, 0x200D, 0xAD]
    + [code for first, last in _ACCENT_RANGES for code in range(first, last + 1)]
)


class Role(Enum):
    """What a number word means."""

    UNIT = "unit"
    TEEN = "teen"
    TEN = "ten"
    HUNDREDS = "hundreds"
    HUNDRED = "hundred"
    THOUSAND = "thousand"
    REPEAT = "repeat"
    PLURAL = "plural"


# How many digits a word adds at most, together with the word before or after it.
_MAX_DIGITS = {
    Role.UNIT: 1,
    Role.TEEN: 2,
    Role.TEN: 2,
    Role.HUNDREDS: 3,
    Role.HUNDRED: 3,
    Role.THOUSAND: 4,
    Role.REPEAT: 3,
    Role.PLURAL: 4,
}


class Filler(Enum):
    """A word between the digits of a number: a hesitation or separator, or another short word."""

    PAUSE = "pause"
    CONNECTIVE = "connective"


@dataclass(frozen=True)
class Meaning:
    """A meaning of a word in one language, together with the words that must follow it."""

    language: Language
    role: Role
    value: int
    next_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownWord:
    """A word that can be part of a number; `max_digits` is how many it can add to one."""

    text: str = ""
    meanings: tuple[Meaning, ...] = ()
    filler: Filler | None = None
    max_digits: int = 0


NO_WORD = KnownWord()


def normalize_word(word: str) -> str:
    """Return the word without case, accents and vowel points."""
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return decomposed.translate(_ACCENTS).translate(_LETTER_VARIANTS)


def _meanings_of(language: Language) -> Iterator[tuple[str, Meaning]]:
    """Yield each word of a language with its meaning."""
    lists = (
        (Role.UNIT, language.units, 0, 1),
        (Role.TEEN, language.teens, 10, 1),
        (Role.TEN, language.ten, 10, 1),
        (Role.TEN, language.tens, 20, 10),
        (Role.HUNDREDS, language.hundreds, 100, 100),
        (Role.HUNDRED, language.hundred, 100, 1),
        (Role.THOUSAND, language.thousand, 1000, 1),
        (Role.REPEAT, language.repeats, 2, 1),
        (Role.PLURAL, language.plurals, 0, 1),
    )
    normalize = str if language in UNSPACED else normalize_word
    for role, words, first, step in lists:
        for position, alternatives in enumerate(entries(words)):
            for phrase in alternatives:
                first_word, *next_words = (normalize(word) for word in phrase)
                value = first + position * step
                yield first_word, Meaning(language, role, value, tuple(next_words))


def _collect_meanings() -> dict[str, tuple[Meaning, ...]]:
    meanings: dict[str, list[Meaning]] = defaultdict(list)
    for language in ALL_LANGUAGES:
        for word, meaning in _meanings_of(language):
            if meaning not in meanings[word]:
                meanings[word].append(meaning)
    return {word: tuple(values) for word, values in meanings.items()}


def _collect_fillers() -> dict[str, Filler]:
    fillers: dict[str, Filler] = {}
    for language in ALL_LANGUAGES:
        for texts, filler in (
            (language.connectives, Filler.CONNECTIVE),
            (language.pauses, Filler.PAUSE),
        ):
            for word in texts.replace("|", " ").replace("_", " ").split():
                key = word if language in UNSPACED else normalize_word(word)
                if fillers.get(key) is not Filler.PAUSE:
                    fillers[key] = filler
    return fillers


_MEANINGS = _collect_meanings()
_FILLERS = _collect_fillers()
# Words that mean something only after others, as "mươi" in "hai mươi".
_NEXT_WORDS = {
    word for values in _MEANINGS.values() for value in values for word in value.next_words
}
_JOINERS = {
    language: {
        normalize_word(word)
        for words in (language.tens_joiner, language.units_joiner, language.hundreds_joiner)
        for word in words.split("|")
        if word
    }
    for language in ALL_LANGUAGES
}
_KNOWN_WORDS = {
    word: KnownWord(
        word,
        _MEANINGS.get(word, ()),
        _FILLERS.get(word),
        max((_MAX_DIGITS[meaning.role] for meaning in _MEANINGS.get(word, ())), default=0),
    )
    for word in {*_MEANINGS, *_FILLERS, *_NEXT_WORDS, *chain(*_JOINERS.values())}
}
# Words of the languages that put no spaces between words, longest first.
UNSPACED_WORDS = sorted(
    {word for word in _KNOWN_WORDS if ord(word[0]) >= _FIRST_UNSPACED},
    key=lambda word: (-len(word), word),
)
_PARTS_BY_LANGUAGE = {
    language: {
        word
        for word, values in _MEANINGS.items()
        if len(word) > 1
        and any(
            value.language is language and not value.next_words and value.role is not Role.PLURAL
            for value in values
        )
    }
    for language in (*LANGUAGES, *SPACED)
    if language is not ENGLISH_HOMOPHONES
}


@lru_cache(maxsize=100_000)
def split_word(word: str) -> tuple[KnownWord, ...]:
    """Return the known words that a word consists of, or nothing if it is another one.

    "Einundzwanzig" consists of "ein", "und" and "zwanzig".
    """
    if ord(word[0]) >= _FIRST_UNSPACED:
        return (_KNOWN_WORDS[word],) if word in _KNOWN_WORDS else ()
    key = normalize_word(word)
    if key in _KNOWN_WORDS:
        return (_KNOWN_WORDS[key],)
    if not _MIN_COMPOUND_LENGTH <= len(key) <= _MAX_COMPOUND_LENGTH:
        return ()
    splits = {language: _split_compound(key, language) for language in _PARTS_BY_LANGUAGE}
    parts = min((split for split in splits.values() if split), key=len, default=())
    languages = {language for language, split in splits.items() if split == parts}
    return tuple(_in_languages(_KNOWN_WORDS[part], languages) for part in parts)


def _in_languages(word: KnownWord, languages: set[Language]) -> KnownWord:
    meanings = (meaning for meaning in word.meanings if meaning.language in languages)
    return replace(word, meanings=tuple(meanings))


def _split_compound(key: str, language: Language) -> tuple[str, ...]:
    """Return the fewest words of the language that make up the text, or nothing."""
    parts = _PARTS_BY_LANGUAGE[language]
    best: dict[int, tuple[str, ...]] = {0: ()}
    for end in range(1, len(key) + 1):
        for start, split in list(best.items()):
            part = key[start:end]
            is_inner_joiner = part in _JOINERS[language] and start > 0 and end < len(key)
            is_shorter = end not in best or len(best[end]) > len(split) + 1
            if (part in parts or is_inner_joiner) and is_shorter:
                best[end] = (*split, part)
    return best.get(len(key), ())
