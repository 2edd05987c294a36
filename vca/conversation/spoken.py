"""Text on its way to a voice: what can be spoken and carried, by the clause, not for ever."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

MAX_CHARS = 2_000

# Joiners are Cf like the marks that are dropped, but Persian, Indic scripts and emoji are wrong
# without them.
_JOINERS = "\u200c\u200d"
_DROPPED = {"Cc", "Cf", "Co", "Cs"}
# A sentence ends at its mark and the closing quotes after it, before white space; Chinese and
# Japanese put none there. Within a long one a voice can begin at a comma or a dash. Possessive, and
# only from where a run of marks begins: thousands of commas in a row are looked at once.
_END = re.compile(
    r"(?P<sentence>(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？]+[」』”’）]*|\n)"
    r"|(?<![,;])[,;]++[\"'”’»)\]]*+(?=\s)|(?<=\s)[–—-](?=\s)|[，、；]"
)
# Without one of these a piece completes neither a clause nor a tag, whatever was before it.
_COMPLETING = re.compile(r"[\s>。！？」』”’），、；]")
_BLANKS = re.compile(r"[ \t]{2,}\Z")
_SENTENCE_ENDED = re.compile(r"[.!?…。！？][\"'”’»)\]」』）]*(\s|\Z)")
_CLAUSE_WORDS = 6
_CLAUSE_UNSPACED = 12  # characters of a script that puts no space between words

_TAG = re.compile(r"<[/!?]?[A-Za-z][^<>]{0,300}>|<!--[^>]{0,300}-->")
_TAG_BEGUN = re.compile(r"<(?:[/!?]?(?:[A-Za-z-][^<>]{0,300})?)?\Z")
_LINE_MARK = re.compile(r"^\s*(?:#{1,6}|[-*•]|>)\s+")
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,1000}\)")
_MARKS = str.maketrans("", "", "<>*`~|\\")

_SPACELESS = re.compile(r"(?<=[。！？」』，、；]) ")


def clean(text: str) -> str:
    """The text without what no voice says and no carrier takes, white space made single spaces."""
    spaced = " ".join(text.split())
    if spaced.isprintable():  # as almost all is: it then holds none of what is dropped
        return spaced
    # A pair of surrogates that arrived in two pieces becomes its character again; a lone one is
    # dropped.
    whole = spaced.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return " ".join("".join(filter(_speakable, whole)).split())


def plain(text: str) -> str:
    """A model's clause, clean, and without the marks and tags that models write."""
    unlinked = _LINK.sub(r"\1", _LINE_MARK.sub("", _TAG.sub(" ", text)))
    return clean(unlinked.translate(_MARKS))


def _speakable(char: str) -> bool:
    code = ord(char)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return char in _JOINERS or not (noncharacter or unicodedata.category(char) in _DROPPED)


def can_be_said(text: str) -> bool:
    """Whether a voice makes anything of it: a letter or a digit is in it."""
    return any(map(str.isalnum, text))


def has_sentence(text: str) -> bool:
    """Whether at least one sentence has come to its end."""
    return _SENTENCE_ENDED.search(text) is not None


class Clauses:
    """A stream of pieces as clauses, each as soon as it is complete and can be said.

    A clause is a sentence, or the part of a long one up to a comma, a semicolon or a dash. One
    beyond `longest` characters is handed on unfinished, so that a stream without an end cannot fill
    memory.
    """

    def __init__(self, *, longest: int = MAX_CHARS) -> None:
        self._longest = longest
        self._pending = ""

    def add(self, piece: str) -> Iterator[str]:
        """The clauses that a piece completes."""
        if not piece.strip(" \t") and self._pending[-1:] in " \t":
            return iter(())  # a model that trickles white space fills nothing
        self._pending += piece
        if not _COMPLETING.search(piece) and len(self._pending) <= self._longest:
            return iter(())  # nor does all that is pending have to be looked at once more
        text = _BLANKS.sub(" ", _TAG.sub(" ", self._pending))
        # The end of a tag that has begun is in a later piece, and may look like a clause's.
        begun = _TAG_BEGUN.search(text)
        ready, held = (text[: begun.start()], text[begun.start() :]) if begun else (text, "")
        *complete, rest = _split(ready)
        self._pending = rest + held
        if len(self._pending) > self._longest:
            complete, self._pending = [*complete, self._pending], ""
        return _sayable(complete)

    def rest(self, *, broken_off: bool = False) -> Iterator[str]:
        """What is left at the end of the stream; of one that broke off, its last whole sentence."""
        rest, self._pending = self._pending, ""
        return _sayable([rest] if not broken_off or has_sentence(rest) else [])


def _sayable(clauses: Iterable[str]) -> Iterator[str]:
    return filter(can_be_said, map(plain, clauses))


def sentences(text: str) -> Iterator[str]:
    """The clean clauses of a text that is not a model's; joined they are the text."""
    return filter(None, map(clean, _split(text)))


def bounded(spoken: Iterable[str], *, max_chars: int = MAX_CHARS) -> Iterator[str]:
    """The clauses that fit into `max_chars` characters, a space between two; asks for no more.

    A first clause that is too long by itself is cut at a word.
    """
    left = max_chars
    for clause in spoken:
        if len(clause) > left:
            if left == max_chars:
                yield _cut(clause, max_chars)
            return
        yield clause
        left -= len(clause) + 1


def joined(spoken: Iterable[str]) -> str:
    """The clauses as one text; Chinese and Japanese ones follow each other without a space."""
    return _SPACELESS.sub("", " ".join(spoken))


def _split(text: str) -> list[str]:
    """Complete clauses, then what is left."""
    parts, start = [], 0
    for end in _END.finditer(text):
        part = text[start : end.end()]
        if end["sentence"] or _long_enough(part):
            parts.append(part)
            start = end.end()
    return [*parts, text[start:]]


def _long_enough(clause: str) -> bool:
    if clause[-1] in "，、；":
        return len(clause) > _CLAUSE_UNSPACED
    return len(clause.split()) >= _CLAUSE_WORDS


def _cut(sentence: str, max_chars: int) -> str:
    head, space, _ = sentence[: max_chars + 1].rpartition(" ")
    return head if space and head else sentence[:max_chars]
