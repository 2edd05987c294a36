"""Detect a profile's phrases in what the caller said."""

import re
import unicodedata
from collections.abc import Iterable

# Scripts without spaces between words: each character counts as a word.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])"
)
_APOSTROPHES = str.maketrans("", "", "'’ʼ‘`´")
_WORD_CATEGORIES = (
    "LNM"  # Unicode's letters, numbers and marks; vowel signs of Indic scripts are marks
)


def contains_phrase(phrases: Iterable[str], utterance: str) -> bool:
    """Return whether the utterance contains one of `phrases`.

    Whole words are compared, regardless of case, punctuation and Unicode form.
    """
    words = _normalise_words(utterance)
    return any(f" {phrase} " in f" {words} " for phrase in map(_normalise_words, phrases) if phrase)


def _normalise_words(text: str) -> str:
    compatible = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    folded = unicodedata.normalize("NFKC", compatible.casefold())
    letters = (
        char if unicodedata.category(char)[0] in _WORD_CATEGORIES else " " for char in folded
    )
    return " ".join(_UNSPACED.sub(r" \1 ", "".join(letters)).split())
