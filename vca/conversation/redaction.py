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

CARD_REPLACEMENT, EMAIL_REPLACEMENT, PATTERN_REPLACEMENT = (
    "[card number]",
    "[e-mail address]",
    "[redacted]",
)
# ISO/IEC 7812: how many digits a card number has.
_CARD_LENGTHS = range(19, 12, -1)
_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WORD_VALUES = {**{word: value for value, word in enumerate(_DIGIT_WORDS)}, "oh": 0, "o": 0}
# What a digit is worth that counts double in Luhn's formula: the last but one, the one two before …
_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
# Of the digits of a run: for numbers that end at its even places, and at its odd ones.
LuhnSums = tuple[list[int], list[int]]
# In capitals or not, but in ASCII: else a dotless i and a long s were an "i" and an "s" here.
_DIGIT = re.compile(rf"\d|\b(?ai:{'|'.join(_WORD_VALUES)})(?:\b|(?=\d))")
# What people, and what hears them, put between the digits of one number.
_SEPARATOR = re.compile(r"[\s,.\-\u00a0\u2010-\u2015]{0,3}")
_WRITTEN_EMAIL = re.compile(r"[\w.%+\-]{1,64}+@(?:[\w\-]{1,63}+\.){1,8}[^\W\d_]{2,63}")
_SPOKEN_EMAIL = re.compile(
    r"\b\w{1,64}+(?:\s(?:dot|dash|minus|underscore|plus)\s\w{1,64}+){0,8}"
    r"\sat\s\w{1,63}(?:\s(?:dot|dash|minus)\s\w{1,63}){0,8}\sdot\s[^\W\d_]{2,63}\b",
    re.IGNORECASE,
)
# In a mask: any digit, any letter, white space or a dash or nothing; the rest is itself.
MASK_CHARACTERS = {"#": r"\d", "@": r"[^\W\d_]", " ": r"[\s\-]?"}


@dataclass(frozen=True)
class Redaction:
    """What a profile does not keep of what is said in its calls.

    A pattern is a mask, as `###-##-####` or `AB######`: `#` is a digit, `@` a letter, a space is
    white space, a dash or nothing, and everything else is itself, in capitals or not.
    """

    card_numbers: bool = False
    email_addresses: bool = False
    patterns: tuple[str, ...] = ()

    def redact_text(self, text: str) -> str:
        """What is kept of a text."""
        if self.email_addresses:
            text = _WRITTEN_EMAIL.sub(EMAIL_REPLACEMENT, text) if "@" in text else text
            text = _SPOKEN_EMAIL.sub(EMAIL_REPLACEMENT, text)
        for mask in self.patterns:
            text = _compile_mask(mask).sub(PATTERN_REPLACEMENT, text)
        return _redact_cards(text) if self.card_numbers else text

    def redact_value(self, value: Any) -> Any:
        """A JSON value with all of its texts as they are kept."""
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
    """A profile's, as it is stored; versions of old profiles have none."""
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
    """Every number that is as long as a card's and has its check digit, written or spelt out."""
    parts: list[str] = []
    end = 0
    for start, stop in _find_cards(text):
        parts += text[end:start], CARD_REPLACEMENT
        end = stop
    return "".join([*parts, text[end:]])


def _find_cards(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each, in order."""
    for run in _digit_runs(text):
        sums = _luhn_sums([digit for digit, _, _ in run])
        start = 0
        while start < len(run):
            length = _card_length(sums, start)
            if length:
                yield run[start][1], run[start + length - 1][2]
            start += length or 1


def _card_length(sums: LuhnSums, start: int) -> int:
    """How many digits from there on are a card's number, the most that can be; 0 for none."""
    for length in _CARD_LENGTHS:
        end = start + length
        if end < len(sums[0]) and _has_check_digit(sums, start, end):
            return length
    return 0


def _has_check_digit(sums: LuhnSums, start: int, end: int) -> bool:
    """The formula of Luhn; a row of zeros has it too and is nobody's."""
    prefix_sums = sums[end % 2]
    total = prefix_sums[end] - prefix_sums[start]
    return total > 0 and total % 10 == 0


def _luhn_sums(digits: list[int]) -> LuhnSums:
    """Added up from the first on: what any number adds up to is the difference of two."""
    plain, doubled = [*digits], [_LUHN_DOUBLED[digit] for digit in digits]
    plain[1::2], doubled[1::2] = doubled[1::2], plain[1::2]
    return list(accumulate(doubled, initial=0)), list(accumulate(plain, initial=0))


def _digit_runs(text: str) -> Iterator[list[tuple[int, int, int]]]:
    """The digits, with where each stands, of every stretch that nothing else interrupts."""
    run: list[tuple[int, int, int]] = []
    for match in _DIGIT.finditer(text):
        if run and not _SEPARATOR.fullmatch(text, run[-1][2], match.start()):
            yield run
            run = []
        run.append((_digit_value(match[0]), *match.span()))
    yield run


def _digit_value(digit: str) -> int:
    """Of one in any script, or of its word."""
    return int(digit) if digit.isdecimal() else _WORD_VALUES[digit.lower()]
