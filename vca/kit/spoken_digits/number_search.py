"""Find known numbers in a text, in all of its readings."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from vca.kit.spoken_digits.language import Language
from vca.kit.spoken_digits.paired_languages import ENGLISH
from vca.kit.spoken_digits.passages import Token, split_passages
from vca.kit.spoken_digits.readings import is_inside_word, steps_from
from vca.kit.spoken_digits.vocabulary import Filler


@dataclass(frozen=True)
class NumberSpan:
    """Where a number is in a text.

    `is_isolated` means that no other digits are next to it, apart from pauses.
    """

    start: int
    end: int
    number: str
    is_isolated: bool


@dataclass(frozen=True)
class _Match:
    """A number in a passage: its first token, and the position after its last one."""

    first: int
    end: int
    number: str


def find_numbers(text: str, numbers: Sequence[str]) -> list[NumberSpan]:
    """Return where the text has the numbers, which are ASCII digits; spans do not overlap.

    A number begins and ends with a whole word or group of digits. Of overlapping ones the first and
    longest is returned. The time is proportional to the text.
    """
    if not numbers:
        return []
    passages = split_passages(text, min_digits=min(map(len, numbers)))
    return [span for tokens in passages for span in _find_in_passage(tokens, numbers)]


def is_only_content(text: str, span: NumberSpan) -> bool:
    """Return whether the text has no letter or digit outside of the span."""
    return not any(map(str.isalnum, text[: span.start] + text[span.end :]))


def _find_in_passage(tokens: Sequence[Token], numbers: Sequence[str]) -> Iterator[NumberSpan]:
    position = 0
    for match in sorted(_matches(tokens, numbers), key=lambda match: (match.first, -match.end)):
        if match.first >= position:
            start, end = tokens[match.first].start, tokens[match.end - 1].end
            yield NumberSpan(start, end, match.number, _is_isolated(tokens, match))
            position = match.end


def _is_isolated(tokens: Sequence[Token], match: _Match) -> bool:
    """Return whether no digits in English or the number's language are next to the number."""
    number_tokens = tokens[match.first : match.end]
    languages = {meaning.language for token in number_tokens for meaning in token.word.meanings}
    before, after = reversed(tokens[: match.first]), tokens[match.end :]
    return not any(_begins_with_digits(side, languages | {ENGLISH}) for side in (before, after))


def _begins_with_digits(tokens: Iterable[Token], languages: Set[Language]) -> bool:
    """Return whether the first token after pauses is digits or a number in one of the languages."""
    for token in tokens:
        if token.digits or any(meaning.language in languages for meaning in token.word.meanings):
            return True
        if token.word.filler is not Filler.PAUSE:
            return False
    return False


def _matches(tokens: Sequence[Token], numbers: Sequence[str]) -> list[_Match]:
    """Return all matches; `reached` has where each number began and how far it was read."""
    matches: list[_Match] = []
    numbers_by_digit = {
        digit: [number for number in numbers if number[0] == digit] for digit in "0123456789"
    }
    reached: list[dict[tuple[str, int], int]] = [{} for _ in range(len(tokens) + 1)]
    for position in range(len(tokens)):
        started, reached[position] = reached[position], {}
        for end, digits in steps_from(tokens, position):
            candidates = list(started.items())
            if digits and not is_inside_word(tokens, position):
                candidates += [((number, 0), position) for number in numbers_by_digit[digits[0]]]
            for (number, count), first in candidates:
                if not number.startswith(digits, count):
                    continue
                read_count = count + len(digits)
                if read_count == len(number):
                    if not is_inside_word(tokens, end):
                        matches.append(_Match(first, end, number))
                else:
                    known_first = reached[end].get((number, read_count), first)
                    reached[end][number, read_count] = min(first, known_first)
    return matches
