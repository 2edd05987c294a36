"""Redact card numbers, e-mail addresses and custom masks before a conversation is stored.

Every expression in this module takes time in proportion to the text. A profile's patterns are masks
of a fixed length, not regular expressions, because a regular expression can block a call.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

from vca.kit import spoken_digits
from vca.kit.spoken_digits import ReadGroup

CARD_REPLACEMENT, EMAIL_REPLACEMENT, PATTERN_REPLACEMENT = (
    "[card number]",
    "[e-mail address]",
    "[redacted]",
)
# Digits of a card number (ISO/IEC 7812), longest first.
_CARD_LENGTHS = range(19, 12, -1)
# The value of a digit that the Luhn formula doubles: every second one, from the last but one.
_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
# Prefix sums of a run of digits, for numbers that end at its even and at its odd positions.
LuhnSums = tuple[list[int], list[int]]
# What people and speech recognition put between the digits of one number.
_CARD_SEPARATOR = re.compile(r"[\s,.\-_\u00b7\u2010-\u2015\u2026\u3001\uff0c]{0,20}")
_LONG_MASK_SEPARATOR = re.compile(r"(?:[^\w]|_){0,20}")
# Between short numbers, anything else separates two of them, such as a date and a time.
_SHORT_MASK_SEPARATOR = re.compile(r"[\s\-]{0,3}")
_MIN_LONG_MASK_DIGITS = 7
# Ends a number, if a text goes on with digits.
_PAUSE = re.compile(r"[^\W_]|[,.;:\n\u2026]")
# The characters of a mask without letters, and those of them that are not compared.
_DIGIT_MASK = re.compile(r"[#\d\s.\-/()+_]+", re.ASCII)
_MASK_PUNCTUATION = re.compile(r"[\s.\-/()+_]", re.ASCII)
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
    case. A mask without letters also matches its digits as speech recognition writes them: in
    words, with pauses, and with any punctuation.
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
            text = _replace_spans(text, _find_masked_digits(text, mask), PATTERN_REPLACEMENT)
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


def is_redacted(text: str) -> bool:
    """Return whether something in a stored text has been replaced."""
    return any(
        replacement in text
        for replacement in (CARD_REPLACEMENT, EMAIL_REPLACEMENT, PATTERN_REPLACEMENT)
    )


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


def _replace_spans(text: str, spans: Iterable[tuple[int, int]], replacement: str) -> str:
    """Replace each (start, end) of the text; of overlapping ranges, the first counts."""
    parts: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            parts += text[end:start], replacement
            end = stop
    return "".join([*parts, text[end:]])


def _redact_cards(text: str) -> str:
    """Replace every number with the length and the check digit of a card, written or in words."""
    return _replace_spans(text, _find_cards(text), CARD_REPLACEMENT)


def _find_cards(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) position of each card number."""
    runs = spoken_digits.strict_readings(
        text, min_digits=_CARD_LENGTHS[-1], separator=_CARD_SEPARATOR
    )
    for run in runs:
        digits = [digit for group in run for digit in _digit_positions(group)]
        sums = _luhn_sums([digit for digit, _, _ in digits])
        start = 0
        while start < len(digits):
            length = _card_length(sums, start)
            if length:
                yield digits[start][1], digits[start + length - 1][2]
            start += length or 1


def _digit_positions(group: ReadGroup) -> Iterator[tuple[int, int, int]]:
    """Yield (digit, start, end) of each digit; the digits of words have the position of all."""
    for offset, digit in enumerate(group.digits):
        start = group.start + offset
        yield (
            (int(digit), start, start + 1)
            if group.is_written
            else (int(digit), group.start, group.end)
        )


def _find_masked_digits(text: str, mask: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) position of each number that has the digits of a mask."""
    if not _DIGIT_MASK.fullmatch(mask):
        return
    digit_pattern = _MASK_PUNCTUATION.sub("", mask)
    is_long = len(digit_pattern) >= _MIN_LONG_MASK_DIGITS
    runs = spoken_digits.strict_readings(
        text,
        min_digits=len(digit_pattern),
        separator=_LONG_MASK_SEPARATOR if is_long else _SHORT_MASK_SEPARATOR,
    )
    for run in runs:
        yield from _find_digit_pattern(text, run, digit_pattern)


def _find_digit_pattern(
    text: str, run: Sequence[ReadGroup], digit_pattern: str
) -> Iterator[tuple[int, int]]:
    """Yield the positions of the groups between two pauses of a run that have the digits."""
    begins = [
        position == 0 or _PAUSE.search(text[run[position - 1].end : group.start]) is not None
        for position, group in enumerate(run)
    ]
    begins.append(True)
    for first, last in _equally_long(run, len(digit_pattern)):
        digits = "".join(group.digits for group in run[first:last])
        if begins[first] and begins[last] and _has_digits(digit_pattern, digits):
            yield run[first].start, run[last - 1].end


def _equally_long(run: Sequence[ReadGroup], digit_count: int) -> Iterator[tuple[int, int]]:
    """Yield (first, position after the last) of all groups that have this many digits together."""
    sums = list(accumulate((len(group.digits) for group in run), initial=0))
    position_of_sum = {value: position for position, value in enumerate(sums)}
    for first, value in enumerate(sums):
        last = position_of_sum.get(value + digit_count)
        if last is not None:
            yield first, last


def _has_digits(digit_pattern: str, digits: str) -> bool:
    return all(
        expected in ("#", digit) for expected, digit in zip(digit_pattern, digits, strict=True)
    )


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
