"""Whether what was said holds one of a profile's phrases."""

import re
import unicodedata
from collections.abc import Iterable

# Scripts that put no space between words: each of their characters counts as a word.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])"
)
_APOSTROPHES = str.maketrans("", "", "'’ʼ‘`´")
_WORD = "LNM"  # Unicode's letters, numbers and marks; vowel signs of Indic scripts are marks


def is_said(phrases: Iterable[str], said: str) -> bool:
    """Whether one of `phrases` was said, as whole words, whatever its case, marks and spelling."""
    words = _words(said)
    return any(f" {phrase} " in f" {words} " for phrase in map(_words, phrases) if phrase)


def _words(text: str) -> str:
    spelled = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    folded = unicodedata.normalize("NFKC", spelled.casefold())
    letters = (char if unicodedata.category(char)[0] in _WORD else " " for char in folded)
    return " ".join(_UNSPACED.sub(r" \1 ", "".join(letters)).split())
