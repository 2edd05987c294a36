"""Read the most likely digits of a text, for numbers that are not known, such as card numbers.

Every word counts in one language and English only, and the longest number is read: "twenty five" is
25. Words that merely sound like digits do not count, and of the fillers only pauses are skipped.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vca.kit.spoken_digits.language import Language
from vca.kit.spoken_digits.paired_languages import ENGLISH, ENGLISH_HOMOPHONES
from vca.kit.spoken_digits.passages import Token, split_passages
from vca.kit.spoken_digits.readings import Step, steps_from
from vca.kit.spoken_digits.vocabulary import Filler, Role

# Two words of a language tell that a passage is in it; one may be a word of another language.
_MIN_WORDS_OF_LANGUAGE = 2


@dataclass(frozen=True)
class ReadGroup:
    """Digits that one number word, one number of several words, or one group of digits stands for.

    `is_written` means that the text has the digits themselves.
    """

    start: int
    end: int
    digits: str
    is_written: bool


def strict_readings(
    text: str, *, min_digits: int, separator: re.Pattern[str]
) -> Iterator[list[ReadGroup]]:
    """Yield each run of digits in which only pauses and text that matches `separator` interrupt.

    A passage whose language is not certain yields a run for each possible language.
    """
    for tokens in split_passages(text, min_digits=min_digits):
        for languages in _possible_languages(tokens):
            for run in _read_runs(text, tokens, languages, separator):
                if sum(len(group.digits) for group in run) >= min_digits:
                    yield run


def _possible_languages(tokens: Sequence[Token]) -> Iterator[frozenset[Language]]:
    words_by_language: dict[Language, set[str]] = defaultdict(set)
    for token in tokens:
        languages = {meaning.language for meaning in token.word.meanings} - {ENGLISH_HOMOPHONES}
        if ENGLISH not in languages:
            for language in languages:
                words_by_language[language].add(token.word.text)
    yield frozenset({ENGLISH})
    most_words = max(map(len, words_by_language.values()), default=0)
    for language, words in words_by_language.items():
        if len(words) == most_words >= _MIN_WORDS_OF_LANGUAGE:
            yield frozenset({ENGLISH, language})


def _read_runs(
    text: str,
    tokens: Sequence[Token],
    languages: frozenset[Language],
    separator: re.Pattern[str],
) -> Iterator[list[ReadGroup]]:
    run: list[ReadGroup] = []
    position, end_of_last = 0, 0
    while position < len(tokens):
        token = tokens[position]
        if run and not separator.fullmatch(text, end_of_last, max(token.start, end_of_last)):
            yield run
            run = []
        step = _best_step(tokens, position, languages, run)
        end = position + 1 if step is None else step[0]
        if step is not None:
            start, stop = token.start, tokens[end - 1].end
            run.append(ReadGroup(start, stop, step[1], bool(token.digits)))
        elif token.word.filler is not Filler.PAUSE and run:
            yield run
            run = []
        position, end_of_last = end, tokens[end - 1].end
    if run:
        yield run


def _best_step(
    tokens: Sequence[Token],
    position: int,
    languages: frozenset[Language],
    run: Sequence[ReadGroup],
) -> Step | None:
    """Return the longest number at a position, or None.

    "Hundred" after a number multiplies it; otherwise it means one hundred.
    """
    steps = [step for step in steps_from(tokens, position, languages) if step[1]]
    if not steps:
        return None
    end = max(last for last, _ in steps)
    longest = [digits for last, digits in steps if last == end]
    is_multiplier = any(
        meaning.role in (Role.HUNDRED, Role.THOUSAND) for meaning in tokens[position].word.meanings
    )
    multiplies = bool(run) and position > 0 and run[-1].end == tokens[position - 1].end
    choose = min if is_multiplier and multiplies and run[-1].digits.lstrip("0") else max
    return end, choose(longest, key=len)
