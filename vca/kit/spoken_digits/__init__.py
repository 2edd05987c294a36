"""Read the digits of a text, as people write them and as speech recognition writes them.

A number may be written in the digits of any script, in words of many languages, in pairs such as
"fifty-five", with "double" and "triple", and with pauses and short words in between. The language
of a text is not known, so the words of all languages count. A passage can have several readings:
"twenty five" is 25 and 20 5.

- `find_numbers` finds known numbers: they are searched for in all readings.
- `strict_readings` returns what a passage most likely says, for numbers that are not known.
- `preselection_pattern` returns a regular expression with which Postgres finds candidates.

To add a language, add its table to `paired_languages` or `other_languages`.
"""

from vca.kit.spoken_digits.number_search import NumberSpan, find_numbers, is_only_content
from vca.kit.spoken_digits.preselection import preselection_pattern
from vca.kit.spoken_digits.strict_reading import ReadGroup, strict_readings
from vca.kit.spoken_digits.vocabulary import LANGUAGE_CODES

__all__ = [
    "LANGUAGE_CODES",
    "NumberSpan",
    "ReadGroup",
    "find_numbers",
    "is_only_content",
    "preselection_pattern",
    "strict_readings",
]
