"""A person, identified by a telephone number, and all spellings of the number in texts."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vca.kit import json, phone

ERASED = "erased"
ERASED_IN_TEXT = f"[{ERASED}]"
# Separators that people and models write between two digits.
_SEPARATORS = r"[\s().\-/\u00a0\u2010-\u2015]{0,3}"
# Without their country code, shorter numbers would match too many unrelated numbers.
_MIN_NATIONAL_DIGITS = 8


@dataclass(frozen=True)
class DataSubject:
    """A person, identified by a number in E.164."""

    number: str

    @cached_property
    def numbers(self) -> list[str]:
        """All E.164 spellings of the number's line."""
        return sorted(phone.twins(self.number))

    @cached_property
    def spellings(self) -> list[str]:
        """The digits of the numbers, with the country code and as they are written at home.

        A number that cannot be parsed has its own digits alone.
        """
        national_forms = phone.national_forms(self.number)
        return sorted({*(number[1:] for number in self.numbers), *national_forms})

    @cached_property
    def pattern(self) -> str:
        """A regular expression that finds the number in texts, valid in Python and in Postgres."""
        forms = [
            rf"(?:\+{_SEPARATORS}|00{_SEPARATORS})?{_SEPARATORS.join(number[1:])}"
            for number in self.numbers
        ]
        forms += [
            rf"(?:0{_SEPARATORS})?{_SEPARATORS.join(digits)}"
            for digits in sorted(phone.national_forms(self.number))
            if len(digits) >= _MIN_NATIONAL_DIGITS
        ]
        return rf"(?<![0-9])\(?(?:{'|'.join(forms)})(?![0-9])"

    def equals_number(self, text: str) -> bool:
        """Return whether a text consists of the number alone, with or without the country code."""
        digits = re.sub("[^0-9]", "", text).lstrip("0")
        return digits in self.spellings and re.search("[A-Za-z]", text) is None

    def scrub(self, value: Any) -> Any:
        """Return a text or JSON value with every occurrence of the number replaced."""
        match value:
            case str():
                return self._scrub_text(value)
            case dict():
                return {self.scrub(name): self.scrub(item) for name, item in value.items()}
            case list():
                return [self.scrub(item) for item in value]
            case int() | float() if not isinstance(value, bool) and self._occurs_in(str(value)):
                return ERASED
            case _:
                return value

    def _scrub_text(self, text: str) -> str:
        if not self._occurs_in(text):
            return text
        if text.startswith(("{", "[")):
            try:
                return json.dumps(self.scrub(json.loads(text))).decode()
            except ValueError:
                pass  # the text only looks like JSON
        return re.sub(self.pattern, ERASED_IN_TEXT, text)

    def _occurs_in(self, text: str) -> bool:
        return re.search(self.pattern, text) is not None
