"""Split a text into passages: digits, number words and fillers that only separators interrupt."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from vca.kit.spoken_digits.vocabulary import NO_WORD, UNSPACED_WORDS, KnownWord, split_word

# Thai, Lao, kana, Chinese characters, Hangul: no spaces between words.
_UNSPACED_RANGE = "\u0e00-\u0eff\u1100-\u11ff\u3005-\u3007\u3021-\u31ff\u3400-\u9fff\uac00-\ud7af"


def _character_class(codes: Iterator[int]) -> str:
    """Return the characters as ranges for a regular expression's character class."""
    ranges = []
    for _, group in groupby(enumerate(codes), key=lambda pair: pair[1] - pair[0]):
        run = [code for _, code in group]
        ranges.append(f"\\U{run[0]:08x}-\\U{run[-1]:08x}")
    return "".join(ranges)


@cache
def digit_codes() -> tuple[int, ...]:
    """Return all characters with the value of a digit, also full-width and circled ones."""
    return tuple(code for code in range(0x20000) if unicodedata.digit(chr(code), None) is not None)


_IS_UNSPACED = re.compile(f"[{_UNSPACED_RANGE}]")


def _characters_of_category(category: str) -> str:
    return _character_class(
        code
        for code in range(0x3000)
        if unicodedata.category(chr(code))[0] == category and not _IS_UNSPACED.match(chr(code))
    )


@cache
def _token_pattern() -> re.Pattern[str]:
    """Return the pattern of a token; most processes need none, and it takes 30 ms."""
    letters, marks = _characters_of_category("L"), _characters_of_category("M")
    return re.compile(
        rf"([{_character_class(iter(digit_codes()))}]+)"
        rf"|([{letters}][{letters}{marks}]*|{'|'.join(map(re.escape, UNSPACED_WORDS))})"
        r"|[^\W_]"
    )


_DIGITS_GROUP = 1


@dataclass(frozen=True, slots=True)
class Token:
    """Digits, a number word or a filler, and its position in the text."""

    start: int
    end: int
    digits: str = ""
    word: KnownWord = NO_WORD


# The start and end of digits or of a word, and the word's parts; digits have none.
_Match = tuple[int, int, tuple[KnownWord, ...]]


def split_passages(text: str, *, min_digits: int) -> Iterator[list[Token]]:
    """Yield the passages that may have this many digits."""
    matches: list[_Match] = []
    digit_count = 0
    for match in _token_pattern().finditer(text):
        start, end = match.span()
        if match.lastindex == _DIGITS_GROUP:
            matches.append((start, end, ()))
            digit_count += end - start
            continue
        words = split_word(match[0]) if match.lastindex is not None else ()
        if words:
            matches.append((start, end, words))
            digit_count += sum(word.max_digits for word in words)
        elif matches:
            if digit_count >= min_digits:
                yield _read_tokens(text, matches)
            matches, digit_count = [], 0
    if digit_count >= min_digits:
        yield _read_tokens(text, matches)


def _read_tokens(text: str, matches: list[_Match]) -> list[Token]:
    tokens: list[Token] = []
    for start, end, words in matches:
        if words:
            tokens += [Token(start, end, word=word) for word in words]
        else:
            tokens.append(Token(start, end, digits=_ascii_digits(text[start:end])))
    return tokens


def _ascii_digits(digits: str) -> str:
    if digits.isascii():
        return digits
    return "".join(str(unicodedata.digit(digit)) for digit in digits)
