"""Redact card numbers, e-mail addresses and custom masks before a conversation is stored.

Every expression in this module takes time in proportion to the text. A profile's patterns are masks
of a fixed length, not regular expressions, because a regular expression can block a call.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

CARD_REPLACEMENT, EMAIL_REPLACEMENT, PATTERN_REPLACEMENT = (
    "[card number]",
    "[e-mail address]",
    "[redacted]",
)
# Digits of a card number (ISO/IEC 7812), longest first.
_CARD_LENGTHS = range(19, 12, -1)
_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WORD_VALUES = {**{word: value for value, word in enumerate(_DIGIT_WORDS)}, "oh": 0, "o": 0}
# The value of a digit that the Luhn formula doubles: every second one, from the last but one.
_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
# Prefix sums of a run of digits, for numbers that end at its even and at its odd positions.
LuhnSums = tuple[list[int], list[int]]
# Case-insensitive in ASCII only: otherwise a dotless i and a long s would match "i" and "s".
_DIGIT = re.compile(rf"\d|\b(?ai:{'|'.join(_WORD_VALUES)})(?:\b|(?=\d))")
# What people and speech recognition put between the digits of one number.
_SEPARATOR = re.compile(r"[\s,.\-\u00a0\u2010-\u2015]{0,3}")
_WRITTEN_EMAIL = re.compile(r"[\w.%+\-]{1,64}+@(?:[\w\-]{1,63}+\.){1,8}[^\W\d_]{2,63}")
_SPOKEN_EMAIL = re.compile(
    r"\b\w{1,64}+(?:\s(?:dot|dash|minus|underscore|plus)\s\w{1,64}+){0,8}"
    r"\sat\s\w{1,63}(?:\s(?:dot|dash|minus)\s\w{1,63}){0,8}\sdot\s[^\W\d_]{2,63}\b",
    re.IGNORECASE,
)
# The special characters of a mask; every other character stands for itself.
MASK_CHARACTERS = {"#": r"\d", "@": r"[^\W\d_]", " ": r"[\s\-]?"}


@dataclass(frozen=True)
class Redaction:
    """What a profile redacts from the conversations of its calls.

    A pattern is a mask such as `###-##-####` or `AB######`: `#` is a digit, `@` a letter, and a
    space is white space, a dash or nothing. Every other character stands for itself, regardless of
    case.
    """

    card_numbers: bool = False
    email_addresses: bool = False
    patterns: tuple[str, ...] = ()

    def redact_text(self, text: str) -> str:
        """Return the redacted text."""
        if self.email_addresses:
            text = _WRITTEN_EMAIL.sub(EMAIL_REPLACEMENT, text) if "@" in text else text
            text = _SPOKEN_EMAIL.sub(EMAIL_REPLACEMENT, text)
        for mask in self.patterns:
            text = _compile_mask(mask).sub(PATTERN_REPLACEMENT, text)
        return _redact_cards(text) if self.card_numbers else text

    def redact_value(self, value: Any) -> Any:
        """Return a JSON value with all of its texts redacted."""
        match value:
            case str():
                return self.redact_text(value)
            case Mapping():
                return {name: self.redact_value(item) for name, item in value.items()}
            case list() | tuple():
                return [self.redact_value(item) for item in value]
            case _:
                return value


NO_REDACTION = Redaction()


def from_profile(stored: Mapping[str, Any] | None) -> Redaction:
    """Return a profile's redaction from its stored form; old profile versions have none."""
    if not stored:
        return NO_REDACTION
    return Redaction(
        bool(stored.get("card_numbers")),
        bool(stored.get("email_addresses")),
        tuple(stored.get("patterns", ())),
    )


@lru_cache(maxsize=512)
def _compile_mask(mask: str) -> re.Pattern[str]:
    pattern = "".join(
        MASK_CHARACTERS.get(character) or re.escape(character) for character in mask.strip()
    )
    return re.compile(rf"(?<!\w){pattern}(?!\w)", re.IGNORECASE)


def _redact_cards(text: str) -> str:
    """Replace every number with the length and the check digit of a card, written or spelt out."""
    parts: list[str] = []
    end = 0
    for start, stop in _find_cards(text):
        parts += text[end:start], CARD_REPLACEMENT
        end = stop
    return "".join([*parts, text[end:]])


def _find_cards(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) position of each card number, in order."""
    for run in _digit_runs(text):
        sums = _luhn_sums([digit for digit, _, _ in run])
        start = 0
        while start < len(run):
            length = _card_length(sums, start)
            if length:
                yield run[start][1], run[start + length - 1][2]
            start += length or 1


def _card_length(sums: LuhnSums, start: int) -> int:
    """Return how many digits from `start` are a card number, the longest possible; 0 for none."""
    for length in _CARD_LENGTHS:
        end = start + length
        if end < len(sums[0]) and _has_check_digit(sums, start, end):
            return length
    return 0


def _has_check_digit(sums: LuhnSums, start: int, end: int) -> bool:
    """Return whether the Luhn formula holds; a row of zeros satisfies it but is no card number."""
    prefix_sums = sums[end % 2]
    total = prefix_sums[end] - prefix_sums[start]
    return total > 0 and total % 10 == 0


def _luhn_sums(digits: list[int]) -> LuhnSums:
    """Return prefix sums of the digits: the sum of any range is the difference of two of them."""
    plain, doubled = [*digits], [_LUHN_DOUBLED[digit] for digit in digits]
    plain[1::2], doubled[1::2] = doubled[1::2], plain[1::2]
    return list(accumulate(doubled, initial=0)), list(accumulate(plain, initial=0))


def _digit_runs(text: str) -> Iterator[list[tuple[int, int, int]]]:
    """Yield each run of digits that only separators interrupt, with the position of each digit."""
    run: list[tuple[int, int, int]] = []
    for match in _DIGIT.finditer(text):
        if run and not _SEPARATOR.fullmatch(text, run[-1][2], match.start()):
            yield run
            run = []
        run.append((_digit_value(match[0]), *match.span()))
    yield run


def _digit_value(digit: str) -> int:
    """Return the value of a digit in any script, or of a digit's word."""
    return int(digit) if digit.isdecimal() else _WORD_VALUES[digit.lower()]
