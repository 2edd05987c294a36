"""What of a conversation is not kept: card numbers, e-mail addresses, and what a profile names.

Every expression here takes time in proportion to the text. A profile's own patterns are masks of a
fixed length and no regular expressions, because one of those can hang a call.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

CARD, EMAIL, PATTERN = "[card number]", "[e-mail address]", "[redacted]"
# ISO/IEC 7812: how many digits a card number has.
_CARD_LENGTHS = range(19, 12, -1)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_VALUES = {**{word: value for value, word in enumerate(_WORDS)}, "oh": 0, "o": 0}
# What a digit is worth that counts double in Luhn's formula: the last but one, the one two before …
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
# Of the digits of a run: for numbers that end at its even places, and at its odd ones.
Sums = tuple[list[int], list[int]]
# In capitals or not, but in ASCII: else a dotless i and a long s were an "i" and an "s" here.
_DIGIT = re.compile(rf"\d|\b(?ai:{'|'.join(_VALUES)})(?:\b|(?=\d))")
# What people, and what hears them, put between the digits of one number.
_BETWEEN = re.compile(r"[\s,.\-\u00a0\u2010-\u2015]{0,3}")
_WRITTEN_EMAIL = re.compile(r"[\w.%+\-]{1,64}+@(?:[\w\-]{1,63}+\.){1,8}[^\W\d_]{2,63}")
_SPOKEN_EMAIL = re.compile(
    r"\b\w{1,64}+(?:\s(?:dot|dash|minus|underscore|plus)\s\w{1,64}+){0,8}"
    r"\sat\s\w{1,63}(?:\s(?:dot|dash|minus)\s\w{1,63}){0,8}\sdot\s[^\W\d_]{2,63}\b",
    re.IGNORECASE,
)
# In a mask: any digit, any letter, white space or a dash or nothing; the rest is itself.
MARKS = {"#": r"\d", "@": r"[^\W\d_]", " ": r"[\s\-]?"}


@dataclass(frozen=True)
class Redaction:
    """What a profile does not keep of what is said in its calls.

    A pattern is a mask, as `###-##-####` or `AB######`: `#` is a digit, `@` a letter, a space is
    white space, a dash or nothing, and everything else is itself, in capitals or not.
    """

    card_numbers: bool = False
    email_addresses: bool = False
    patterns: tuple[str, ...] = ()

    def text(self, said: str) -> str:
        """What is kept of a text."""
        if self.email_addresses:
            said = _WRITTEN_EMAIL.sub(EMAIL, said) if "@" in said else said
            said = _SPOKEN_EMAIL.sub(EMAIL, said)
        for mask in self.patterns:
            said = _of_mask(mask).sub(PATTERN, said)
        return _without_cards(said) if self.card_numbers else said

    def value(self, value: Any) -> Any:
        """A JSON value with all of its texts as they are kept."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {name: self.value(it) for name, it in value.items()}
            case list() | tuple():
                return [self.value(it) for it in value]
            case _:
                return value


KEPT_WHOLE = Redaction()


def of(kept: Mapping[str, Any] | None) -> Redaction:
    """A profile's, as it is stored; versions of old profiles have none."""
    if not kept:
        return KEPT_WHOLE
    return Redaction(
        bool(kept.get("card_numbers")),
        bool(kept.get("email_addresses")),
        tuple(kept.get("patterns", ())),
    )


@lru_cache(maxsize=512)
def _of_mask(mask: str) -> re.Pattern[str]:
    inside = "".join(MARKS.get(mark) or re.escape(mark) for mark in mask.strip())
    return re.compile(rf"(?<!\w){inside}(?!\w)", re.IGNORECASE)


def _without_cards(said: str) -> str:
    """Every number that is as long as a card's and has its check digit, written or spelt out."""
    kept: list[str] = []
    end = 0
    for first, last in _cards(said):
        kept += said[end:first], CARD
        end = last
    return "".join([*kept, said[end:]])


def _cards(said: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each, in order."""
    for run in _runs(said):
        sums = _sums([digit for digit, _, _ in run])
        start = 0
        while start < len(run):
            length = _length_of_card(sums, start)
            if length:
                yield run[start][1], run[start + length - 1][2]
            start += length or 1


def _length_of_card(sums: Sums, start: int) -> int:
    """How many digits from there on are a card's number, the most that can be; 0 for none."""
    for length in _CARD_LENGTHS:
        end = start + length
        if end < len(sums[0]) and _has_check_digit(sums, start, end):
            return length
    return 0


def _has_check_digit(sums: Sums, start: int, end: int) -> bool:
    """The formula of Luhn; a row of zeros has it too and is nobody's."""
    counted = sums[end % 2]
    total = counted[end] - counted[start]
    return total > 0 and total % 10 == 0


def _sums(digits: list[int]) -> Sums:
    """Added up from the first on: what any number adds up to is the difference of two."""
    once, twice = [*digits], [_DOUBLED[digit] for digit in digits]
    once[1::2], twice[1::2] = twice[1::2], once[1::2]
    return list(accumulate(twice, initial=0)), list(accumulate(once, initial=0))


def _runs(said: str) -> Iterator[list[tuple[int, int, int]]]:
    """The digits, with where each stands, of every stretch that nothing else interrupts."""
    run: list[tuple[int, int, int]] = []
    for found in _DIGIT.finditer(said):
        if run and not _BETWEEN.fullmatch(said, run[-1][2], found.start()):
            yield run
            run = []
        run.append((_value(found[0]), *found.span()))
    yield run


def _value(digit: str) -> int:
    """Of one in any script, or of its word."""
    return int(digit) if digit.isdecimal() else _VALUES[digit.lower()]
