"""Text on its way to a voice: what can be spoken and carried, by the clause, not for ever."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

MAX_CHARS = 2_000

# Joiners are Cf like the marks that are dropped, but Persian, Indic scripts and emoji are wrong
# without them.
_JOINERS = "\u200c\u200d"
_DROPPED_CATEGORIES = {"Cc", "Cf", "Co", "Cs"}
# A sentence ends at its mark and the closing quotes after it, before white space; Chinese and
# Japanese put none there. Within a long one a voice can begin at a comma or a dash. Possessive, and
# only from where a run of marks begins: thousands of commas in a row are looked at once.
_CHUNK_END = re.compile(
    r"(?P<sentence>(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？]+[」』”’）]*|\n)"
    r"|(?<![,;])[,;]++[\"'”’»)\]]*+(?=\s)|(?<=\s)[–—-](?=\s)|[，、；]"
)
# Without one of these a piece completes neither a clause nor a tag, whatever was before it.
_COMPLETING_CHARACTER = re.compile(r"[\s>。！？」』”’），、；]")
_TRAILING_BLANKS = re.compile(r"[ \t]{2,}\Z")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]」』）]*(\s|\Z)")
_MIN_CHUNK_WORDS = 6
_MIN_CHUNK_CHARS_UNSPACED = 12  # characters of a script that puts no space between words

_TAG = re.compile(r"<[/!?]?[A-Za-z][^<>]{0,300}>|<!--[^>]{0,300}-->")
_OPEN_TAG = re.compile(r"<(?:[/!?]?(?:[A-Za-z-][^<>]{0,300})?)?\Z")
_LINE_MARK = re.compile(r"^\s*(?:#{1,6}|[-*•]|>)\s+")
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,1000}\)")
_MARKUP_CHARACTERS = str.maketrans("", "", "<>*`~|\\")

_SPACE_AFTER_CJK_MARK = re.compile(r"(?<=[。！？」』，、；]) ")


def clean_text(text: str) -> str:
    """The text without what no voice says and no carrier takes, white space made single spaces."""
    spaced = " ".join(text.split())
    if spaced.isprintable():  # as almost all is: it then holds none of what is dropped
        return spaced
    # A pair of surrogates that arrived in two pieces becomes its character again; a lone one is
    # dropped.
    paired = spaced.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return " ".join("".join(filter(_is_speakable, paired)).split())


def strip_markup(text: str) -> str:
    """A model's clause, clean, and without the marks and tags that models write."""
    unlinked = _LINK.sub(r"\1", _LINE_MARK.sub("", _TAG.sub(" ", text)))
    return clean_text(unlinked.translate(_MARKUP_CHARACTERS))


def _is_speakable(char: str) -> bool:
    code = ord(char)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return char in _JOINERS or not (
        noncharacter or unicodedata.category(char) in _DROPPED_CATEGORIES
    )


def is_speakable(text: str) -> bool:
    """Whether a voice makes anything of it: a letter or a digit is in it."""
    return any(map(str.isalnum, text))


def has_sentence(text: str) -> bool:
    """Whether at least one sentence has come to its end."""
    return _SENTENCE_END.search(text) is not None


class SentenceChunker:
    """A stream of pieces as clauses, each as soon as it is complete and can be said.

    A clause is a sentence, or the part of a long one up to a comma, a semicolon or a dash. One
    beyond `longest` characters is handed on unfinished, so that a stream without an end cannot fill
    memory.
    """

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._pending = ""

    def add_chunk(self, chunk: str) -> Iterator[str]:
        """The clauses that a piece completes."""
        if not chunk.strip(" \t") and self._pending[-1:] in " \t":
            return iter(())  # a model that trickles white space fills nothing
        self._pending += chunk
        if not _COMPLETING_CHARACTER.search(chunk) and len(self._pending) <= self._max_chars:
            return iter(())  # nor does all that is pending have to be looked at once more
        text = _TRAILING_BLANKS.sub(" ", _TAG.sub(" ", self._pending))
        # The end of a tag that has begun is in a later piece, and may look like a clause's.
        open_tag = _OPEN_TAG.search(text)
        ready, unfinished_tag = (
            (text[: open_tag.start()], text[open_tag.start() :]) if open_tag else (text, "")
        )
        *complete, remainder = _split_chunks(ready)
        self._pending = remainder + unfinished_tag
        if len(self._pending) > self._max_chars:
            complete, self._pending = [*complete, self._pending], ""
        return _clean_chunks(complete)

    def finish(self, *, truncated: bool = False) -> Iterator[str]:
        """What is left at the end of the stream; of one that broke off, its last whole sentence."""
        remainder, self._pending = self._pending, ""
        return _clean_chunks([remainder] if not truncated or has_sentence(remainder) else [])


def _clean_chunks(spoken_chunks: Iterable[str]) -> Iterator[str]:
    return filter(is_speakable, map(strip_markup, spoken_chunks))


def split_text(text: str) -> Iterator[str]:
    """The clean clauses of a text that is not a model's; joined they are the text."""
    return filter(None, map(clean_text, _split_chunks(text)))


def limit_chunks(spoken_chunks: Iterable[str], *, max_chars: int = MAX_CHARS) -> Iterator[str]:
    """The clauses that fit into `max_chars` characters, a space between two; asks for no more.

    A first clause that is too long by itself is cut at a word.
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
    """The clauses as one text; Chinese and Japanese ones follow each other without a space."""
    return _SPACE_AFTER_CJK_MARK.sub("", " ".join(spoken_chunks))


def _split_chunks(text: str) -> list[str]:
    """Complete clauses, then what is left."""
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
