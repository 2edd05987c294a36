"""A cheap regular expression with which Postgres finds the texts that may have a spoken number.

It lets through every text with enough digits or words. Comparing the words with the tables in
Postgres takes as long as reading the text in Python.
"""

from vca.kit.spoken_digits.passages import DIGIT_CODES

_MIN_DIGITS = 4
# Languages without spaces between words need a character for each digit.
_MIN_UNSPACED_LENGTH = 7
_DIGITS = "".join(map(chr, DIGIT_CODES))
_LETTER = r"[^\s[:punct:]]"
_FORMS = (
    f"(?:[{_DIGITS}][^{_DIGITS}]*){{{_MIN_DIGITS}}}",
    rf"{_LETTER}{{2}}[\s[:punct:]]+{_LETTER}{{2}}",
    f"{_LETTER}{{{_MIN_UNSPACED_LENGTH}}}",
)
# In the syntax of Postgres.
PRESELECTION_PATTERN = "|".join(_FORMS)
