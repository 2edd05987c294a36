"""A cheap regular expression with which Postgres finds the texts that may have a spoken number.

It lets through every text with enough digits or words. Comparing the words with the tables in
Postgres takes as long as reading the text in Python.
"""

from vca.kit.spoken_digits.passages import DIGIT_CODES

_MIN_DIGITS = 4
# No shorter number is searched for, and each of its digits has a character at least.
_MIN_LETTERS = 7
_DIGITS = "".join(map(chr, DIGIT_CODES))
_LETTER = r"[^\s[:punct:]]"
_FORMS = (
    f"(?:[{_DIGITS}][^{_DIGITS}]*){{{_MIN_DIGITS}}}",
    rf"{_LETTER}{{2}}[\s[:punct:]]+{_LETTER}{{2}}",
    rf"(?:{_LETTER}[\s[:punct:]]*){{{_MIN_LETTERS}}}",
)
# In the syntax of Postgres.
PRESELECTION_PATTERN = "|".join(_FORMS)
