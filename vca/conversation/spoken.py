"""Text on its way to a voice: what can be spoken and carried, by the sentence, not for ever."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

MAX_CHARS = 2_000

# Joiners are Cf like the marks that are dropped, but Persian, Indic scripts and emoji are wrong
# without them.
_JOINERS = "\u200c\u200d"
_DROPPED = {"Cc", "Cf", "Co", "Cs"}
# A sentence ends at its mark and the closing quotes after it, before white space; Chinese and
# Japanese put none there.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[」』”’）]*|\n")

_SPACELESS = re.compile(r"(?<=[。！？」』]) ")


def clean(text: str) -> str:
    """The text without what no voice says and no carrier takes, white space made single spaces."""
    # A pair of surrogates that arrived in two pieces becomes its character again; a lone one is
    # dropped.
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    single = " ".join(whole.split())
    return " ".join("".join(filter(_speakable, single)).split())


def _speakable(char: str) -> bool:
    code = ord(char)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return char in _JOINERS or not (noncharacter or unicodedata.category(char) in _DROPPED)


def sentences(pieces: Iterable[str], *, longest: int = MAX_CHARS) -> Iterator[str]:
    """The pieces of a stream as clean sentences, each as soon as it is complete.

    A sentence beyond `longest` characters is handed on unfinished, so that a stream without an end
    cannot fill memory.
    """
    pending = ""
    for piece in pieces:
        pending += piece
        *complete, pending = _split(pending)
        if len(pending) > longest:
            complete, pending = [*complete, pending], ""
        yield from filter(None, map(clean, complete))
    yield from filter(None, [clean(pending)])


def bounded(spoken: Iterable[str], *, max_chars: int = MAX_CHARS) -> Iterator[str]:
    """The sentences that fit into `max_chars` characters, a space between two; asks for no more.

    A first sentence that is too long by itself is cut at a word.
    """
    left = max_chars
    for sentence in spoken:
        if len(sentence) > left:
            if left == max_chars:
                yield _cut(sentence, max_chars)
            return
        yield sentence
        left -= len(sentence) + 1


def joined(spoken: Iterable[str]) -> str:
    """The sentences as one text; Chinese and Japanese ones follow each other without a space."""
    return _SPACELESS.sub("", " ".join(spoken))


def _split(text: str) -> list[str]:
    """Complete sentences, then what is left."""
    parts, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        parts.append(text[start : end.end()])
        start = end.end()
    return [*parts, text[start:]]


def _cut(sentence: str, max_chars: int) -> str:
    head, space, _ = sentence[: max_chars + 1].rpartition(" ")
    return head if space and head else sentence[:max_chars]
