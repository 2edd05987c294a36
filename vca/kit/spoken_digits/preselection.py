"""A cheap regular expression with which Postgres finds the texts that may have a spoken number.

It lets through every text with enough digits or words. Comparing the words with the tables in
Postgres takes as long as reading the text in Python.
"""

from functools import cache

from vca.kit.spoken_digits.passages import digit_codes

_MIN_DIGITS = 4
# No shorter number is searched for, and each of its digits has a character at least.
_MIN_LETTERS = 7
_LETTER = r"[^\s[:punct:]]"


@cache
def preselection_pattern() -> str:
    """Return the regular expression, in the syntax of Postgres."""
    digits = "".join(map(chr, digit_codes()))
    forms = (
        f"(?:[{digits}][^{digits}]*){{{_MIN_DIGITS}}}",
        rf"{_LETTER}{{2}}[\s[:punct:]]+{_LETTER}{{2}}",
        rf"(?:{_LETTER}[\s[:punct:]]*){{{_MIN_LETTERS}}}",
    )
    return "|".join(forms)
