"""One person, known by a telephone number, in all the spellings in which texts may name it."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import phonenumbers

from vca.kit import json

ERASED = "erased"
ERASED_IN_TEXT = f"[{ERASED}]"
# Between two digits, as people and models write them.
_SEPARATORS = r"[\s().\-/\u00a0\u2010-\u2015]{0,3}"
# Shorter ones are other numbers too often, where they stand without their country.
_MIN_NATIONAL_DIGITS = 8


@dataclass(frozen=True)
class DataSubject:
    """A person by their number, in E.164."""

    number: str

    @property
    def digits(self) -> str:
        """The number without its `+`."""
        return self.number[1:]

    @cached_property
    def national(self) -> str:
        """The number within its country, without the zero before it."""
        return phonenumbers.national_significant_number(phonenumbers.parse(self.number))

    @cached_property
    def pattern(self) -> str:
        """A regular expression that finds the number in texts, for Python and for Postgres."""
        forms = [rf"(?:\+{_SEPARATORS}|00{_SEPARATORS})?{_SEPARATORS.join(self.digits)}"]
        if len(self.national) >= _MIN_NATIONAL_DIGITS:
            forms.append(rf"(?:0{_SEPARATORS})?{_SEPARATORS.join(self.national)}")
        return rf"(?<![0-9])\(?(?:{'|'.join(forms)})(?![0-9])"

    def equals_number(self, text: str) -> bool:
        """Whether a text is the number and nothing else, with its country or without."""
        digits = re.sub("[^0-9]", "", text).lstrip("0")
        return digits in self.spellings and re.search("[A-Za-z]", text) is None

    @property
    def spellings(self) -> tuple[str, str]:
        """The number's digits with its country and without."""
        return self.digits, self.national

    def scrub(self, value: Any) -> Any:
        """A text or JSON value with the number replaced wherever it stands in it."""
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
                pass  # a text that only looks like a document
        return re.sub(self.pattern, ERASED_IN_TEXT, text)

    def _occurs_in(self, text: str) -> bool:
        return re.search(self.pattern, text) is not None
