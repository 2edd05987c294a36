"""Prepare text for speech: clean it, split it into chunks and limit its length."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from vca.conversation import markup

MAX_CHARS = 2_000

# Joiners belong to category Cf like the characters that are dropped, but Persian, Indic scripts and
# emoji need them.
_JOINERS = "\u200c\u200d"
_DROPPED_CATEGORIES = {"Cc", "Cf", "Co", "Cs"}
# A sentence ends at its final mark and the closing quotes after it, before white space; Chinese and
# Japanese have no white space there. Within a long sentence a voice can start at a comma or a dash.
# The quantifiers are possessive and match only from the start of a run of marks, so that thousands
# of commas in a row take linear time.
_CHUNK_END = re.compile(
    r"(?P<sentence>(?<![.!?…؟।۔])[.!?…؟।۔]++[\"'”’»)\]*_~`]*+(?=\s)|[。！？]+[」』”’）]*|\n)"
    r"|(?<![,;])[,;]++[\"'”’»)\]]*+(?=\s)|(?<=\s)[–—-](?=\s)|[，、；]"
)
# A model chunk that brings none of these completes neither a spoken chunk nor a tag. The beginning
# may be in the characters before the chunk.
_COMPLETING_TEXT = re.compile(r"[.!?…؟।۔,;][^\w\s]{0,14}+\s|\s[–—-]\s|[\n>。！？」』”’），、；]")
_CHARS_BEFORE_CHUNK = 16
_TRAILING_BLANKS = re.compile(r"[ \t]{2,}\Z")
_SENTENCE_END = re.compile(r"[.!?…。！？؟।۔][\"'”’»)\]」』）*_~`]*(\s|\Z)")
_FINAL_SENTENCE_END = re.compile(r"[.!?…。！？؟।۔][\"'”’»)\]」』）]*\s*\Z")
_MIN_CHUNK_WORDS = 6
_MIN_CHUNK_CHARS_UNSPACED = 12  # in scripts without spaces between words

_SPACE_AFTER_CJK_MARK = re.compile(r"(?<=[。！？」』，、；]) ")


def clean_text(text: str) -> str:
    """Return the text without unspeakable characters, with white space made single spaces."""
    spaced = " ".join(text.split())
    if spaced.isprintable():  # the common case: nothing to drop
        return spaced
    # Join surrogate pairs that arrived in two chunks; drop lone surrogates.
    paired = spaced.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return " ".join("".join(filter(_is_speakable, paired)).split())


def strip_markup(text: str) -> str:
    """Return a chunk of a model's text, cleaned and without markup, tags and emoji."""
    return markup.remove_emoji(clean_text(markup.remove_markup(text)))


def _is_speakable(char: str) -> bool:
    code = ord(char)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return char in _JOINERS or not (
        noncharacter or unicodedata.category(char) in _DROPPED_CATEGORIES
    )


def is_speakable(text: str) -> bool:
    """Return whether a voice can speak the text: it contains a letter or a digit."""
    return any(map(str.isalnum, text))


def ends_with_sentence(text: str) -> bool:
    """Return whether the text ends with a complete sentence."""
    return _FINAL_SENTENCE_END.search(text) is not None


def has_sentence(text: str) -> bool:
    """Return whether the text contains the end of a sentence."""
    return _SENTENCE_END.search(text) is not None


class SentenceChunker:
    """Splits a stream of model chunks into spoken chunks, each as soon as it is complete.

    A spoken chunk is a sentence, or the part of a long sentence up to a comma, a semicolon or a
    dash. One beyond `max_chars` characters is emitted unfinished, so that an endless stream cannot
    fill memory.
    """

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._pending = ""

    def add_chunk(self, chunk: str) -> Iterator[str]:
        """Return the spoken chunks that the model's chunk completes."""
        if not chunk.strip(" \t") and self._pending[-1:] in " \t":
            return iter(())  # endless white space must not fill the buffer
        recent_text = self._pending[-_CHARS_BEFORE_CHUNK:] + chunk
        self._pending += chunk
        if not _COMPLETING_TEXT.search(recent_text) and len(self._pending) <= self._max_chars:
            return iter(())  # do not scan the pending text again
        text = _TRAILING_BLANKS.sub(" ", self._text_without_tags())
        # The rest of an open tag or link is in a later chunk and may contain what looks like a
        # chunk's end.
        end = markup.complete_length(text)
        *complete, remainder = _split_chunks(text[:end])
        self._pending = remainder + text[end:]
        if len(self._pending) > self._max_chars:
            complete, self._pending = [*complete, self._pending], ""
        return _clean_chunks(complete)

    def finish(self, *, truncated: bool = False) -> Iterator[str]:
        """Return the remaining text at the end of the stream.

        Of a truncated stream it is returned only if it contains the end of a sentence.
        """
        *complete, remainder = _split_chunks(self._text_without_tags())
        self._pending = ""
        if not truncated or has_sentence(remainder):
            complete.append(remainder)
        return _clean_chunks(complete)

    def _text_without_tags(self) -> str:
        return markup.remove_links(markup.remove_tags(self._pending))


def _clean_chunks(spoken_chunks: Iterable[str]) -> Iterator[str]:
    return filter(is_speakable, map(strip_markup, spoken_chunks))


def split_text(text: str) -> Iterator[str]:
    """Yield the clean chunks of a text that no model wrote; joined they are the text."""
    return filter(None, (markup.remove_emoji(clean_text(part)) for part in _split_chunks(text)))


def limit_chunks(spoken_chunks: Iterable[str], *, max_chars: int = MAX_CHARS) -> Iterator[str]:
    """Yield the chunks that fit into `max_chars` characters with a space between two.

    It reads no more chunks than needed. A first chunk that is too long by itself is cut at a word.
    """
    chars_left = max_chars
    for spoken_chunk in spoken_chunks:
        if len(spoken_chunk) > chars_left:
            if chars_left == max_chars:
                yield _cut_at_word(spoken_chunk, max_chars)
            return
        yield spoken_chunk
        chars_left -= len(spoken_chunk) + 1


def join_chunks(spoken_chunks: Iterable[str]) -> str:
    """Return the chunks as one text; Chinese and Japanese ones are joined without a space."""
    return _SPACE_AFTER_CJK_MARK.sub("", " ".join(spoken_chunks))


def _split_chunks(text: str) -> list[str]:
    """Return the complete chunks, followed by the remaining text."""
    parts, start = [], 0
    for end in _CHUNK_END.finditer(text):
        part = text[start : end.end()]
        if end["sentence"] or _is_long_enough(part):
            parts.append(part)
            start = end.end()
    return [*parts, text[start:]]


def _is_long_enough(spoken_chunk: str) -> bool:
    if spoken_chunk[-1] in "，、；":
        return len(spoken_chunk) > _MIN_CHUNK_CHARS_UNSPACED
    return len(spoken_chunk.split()) >= _MIN_CHUNK_WORDS


def _cut_at_word(spoken_chunk: str, max_chars: int) -> str:
    head, space, _ = spoken_chunk[: max_chars + 1].rpartition(" ")
    return head if space and head else spoken_chunk[:max_chars]
