"""A person, identified by a telephone number, and all spellings of the number in texts."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import phonenumbers

from vca.kit import json, phone
from vca.kit.spoken_digits import NumberSpan, find_numbers, is_only_content
from vca.services.lifecycle_hooks import ERASED

ERASED_IN_TEXT = f"[{ERASED}]"
# Without their country code, shorter numbers would match too many unrelated numbers. Numbers of the
# second length match only if they are not part of a longer number.
MIN_NATIONAL_DIGITS = 8
MIN_ISOLATED_DIGITS = 7
# What people dial before a country code: most countries, North America, Australia, Japan, Russia.
_EXIT_CODES = ("", "00", "011", "0011", "010", "810")
# Characters before the first digit that belong to the number.
_OPENING_CHARACTERS = "+\uff0b("


@dataclass(frozen=True)
class DataSubject:
    """A person, identified by a number in E.164, which need not be in any numbering plan."""

    number: str

    @cached_property
    def numbers(self) -> list[str]:
        """All E.164 spellings of the number's line."""
        return sorted(phone.twins(self.number))

    @cached_property
    def _national_numbers(self) -> Set[str]:
        """The digits by which people in the number's country write it, without a leading zero."""
        return phone.national_forms(self.number)

    @cached_property
    def spellings(self) -> list[str]:
        """The number's digits with and without the country code.

        A number that cannot be parsed has its own digits alone.
        """
        return sorted({*(number[1:] for number in self.numbers), *self._national_numbers})

    @property
    def is_short(self) -> bool:
        """Whether the number is found only with its country code."""
        lengths = map(len, self._national_numbers)
        return min(lengths, default=MIN_NATIONAL_DIGITS) < MIN_ISOLATED_DIGITS

    @cached_property
    def literal_pattern(self) -> str:
        """A regular expression for Postgres that finds the number in digits, not in words."""
        forms = "|".join("[^0-9a-zA-Z]*".join(digits) for digits in self._numbers_anywhere)
        return rf"(?<![0-9])(?:{forms})(?![0-9])"

    @cached_property
    def _numbers_anywhere(self) -> tuple[str, ...]:
        """All digits that people write or dial for the number, long enough to be unmistakable."""
        return tuple({*self._international_forms(), *self._national_forms(MIN_NATIONAL_DIGITS, 15)})

    @cached_property
    def _isolated_numbers(self) -> tuple[str, ...]:
        """National forms that are searched for only where no other digits are next to them."""
        return tuple(self._national_forms(MIN_ISOLATED_DIGITS, MIN_NATIONAL_DIGITS - 1))

    def _international_forms(self) -> Iterator[str]:
        for number in self.numbers:
            digits, parsed = number[1:], phone.parse(number)
            for exit_code in _EXIT_CODES:
                yield exit_code + digits
                if parsed is not None:  # +44 (0)20 …
                    country_code = str(parsed.country_code)
                    yield f"{exit_code}{country_code}0{digits.removeprefix(country_code)}"

    def _national_forms(self, min_digits: int, max_digits: int) -> Iterator[str]:
        """Yield the national numbers of this length, with and without a trunk prefix."""
        for national_number in self._national_numbers:
            if min_digits <= len(national_number) <= max_digits:
                for trunk_prefix in ("", "0", self._trunk_prefix):
                    yield trunk_prefix + national_number

    @cached_property
    def _trunk_prefix(self) -> str:
        """What people dial before a national number in the number's country."""
        parsed = phone.parse(self.number)
        if parsed is None:
            return ""
        region = phonenumbers.region_code_for_country_code(parsed.country_code or 0)
        return phonenumbers.ndd_prefix_for_region(region, strip_non_digits=True) or ""

    def equals_number(self, text: str) -> bool:
        """Return whether a text consists of the number alone, with or without the country code."""
        return any(is_only_content(text, span) for span in self._find_spans(text))

    def occurs_in(self, text: str) -> bool:
        """Return whether a text contains the number."""
        return bool(self._find_spans(text))

    def scrub(self, value: Any) -> Any:
        """Return a text or JSON value with every occurrence of the number replaced."""
        match value:
            case str():
                return self._scrub_text(value)
            case dict():
                return {self.scrub(name): self.scrub(item) for name, item in value.items()}
            case list():
                return [self.scrub(item) for item in value]
            case int() | float() if not isinstance(value, bool) and self.occurs_in(str(value)):
                return ERASED
            case _:
                return value

    def _scrub_text(self, text: str) -> str:
        spans = self._find_spans(text)
        if text.startswith(("{", "[")) and (spans or "\\" in text):
            try:
                document = json.loads(text)
            except ValueError:
                pass  # the text only looks like JSON
            else:
                scrubbed = self.scrub(document)
                return text if scrubbed == document else json.dumps(scrubbed).decode()
        parts, end = [], 0
        for span in spans:
            before = text[end : span.start].rstrip(_OPENING_CHARACTERS)
            parts += [before, ERASED_IN_TEXT]
            end = span.end
        return "".join([*parts, text[end:]])

    def _find_spans(self, text: str) -> list[NumberSpan]:
        if len(text) < MIN_ISOLATED_DIGITS:
            return []
        spans = find_numbers(text, (*self._numbers_anywhere, *self._isolated_numbers))
        return [span for span in spans if span.is_isolated or span.number in self._numbers_anywhere]
