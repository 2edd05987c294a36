"""Detect that a caller ends the call with one of the profile's end phrases."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from vca.conversation import courtesy_words

# Scripts without spaces between words: each character counts as a word.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])"
)
_APOSTROPHES = str.maketrans("", "", "'’ʼ‘`´\u05f3")
_WORD_CATEGORIES = (
    "LNM"  # Unicode's letters, numbers and marks; vowel signs of Indic scripts are marks
)
_QUESTION_MARKS = ("?", "\uff1f", "؟", "\u037e")
# A caller who says more than this does not only say goodbye.
_MAX_WORDS = 200
# Turkish has two letters i; casefold would give `İ` a dot of its own.
_TURKISH_I = str.maketrans({"\u0307": None, "ı": "i"})


def ends_call(phrases: tuple[str, ...], utterance: str, *, language: str) -> bool:
    """Return whether the caller said an end phrase and, apart from it, only words of courtesy.

    Anything else is for the model to judge, such as "How do I spell goodbye?", and so is a
    question: "That's all?". `language` is the profile's BCP 47 tag. Letter case, punctuation,
    Unicode form and spaces between words do not matter.
    """
    if not phrases or utterance.rstrip(" \t\n\"'”’»)").endswith(_QUESTION_MARKS):
        return False
    words = _split_words(utterance)
    if not 0 < len(words) <= _MAX_WORDS:
        return False
    vocabulary = _vocabulary(phrases, language)
    # By the number of words read: None if they are not all in the vocabulary, otherwise whether
    # they can be read with an end phrase among them.
    results: list[bool | None] = [False, *[None] * len(words)]
    for start in range(len(words)):
        if (has_end_phrase := results[start]) is None:
            continue
        text = ""
        for end in range(start, len(words)):
            text += words[end]
            if len(text) > vocabulary.max_chars:
                break
            if text in vocabulary.end_phrases:
                results[end + 1] = True
            elif text in vocabulary.courtesy:
                results[end + 1] = results[end + 1] or has_end_phrase
    return results[-1] is True


@dataclass(frozen=True)
class _Vocabulary:
    """Phrases, each as one word: recognition writes "good bye" as well as "goodbye"."""

    end_phrases: frozenset[str]
    courtesy: frozenset[str]
    max_chars: int


@lru_cache(maxsize=4096)
def _vocabulary(phrases: tuple[str, ...], language: str) -> _Vocabulary:
    end_phrases, courtesy = _join_words(phrases), _courtesy(language)
    return _Vocabulary(end_phrases, courtesy, max(map(len, end_phrases | courtesy), default=0))


@lru_cache(maxsize=256)
def _courtesy(language: str) -> frozenset[str]:
    return _join_words(courtesy_words.courtesy_phrases(language))


def _join_words(phrases: Iterable[str]) -> frozenset[str]:
    return frozenset(filter(None, ("".join(_split_words(phrase)) for phrase in phrases)))


def _split_words(text: str) -> list[str]:
    compatible = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    folded = unicodedata.normalize("NFKC", compatible.casefold()).translate(_TURKISH_I)
    letters = (
        char if unicodedata.category(char)[0] in _WORD_CATEGORIES else " " for char in folded
    )
    return _UNSPACED.sub(r" \1 ", "".join(letters)).split()
