"""All readings of a passage: which digits its tokens can stand for, alone and combined."""

from collections.abc import Iterator, Sequence

from vca.kit.spoken_digits.language import Language
from vca.kit.spoken_digits.passages import Token
from vca.kit.spoken_digits.vocabulary import Meaning, Role, normalize_word

# (position of the next token, digits)
Step = tuple[int, str]
Languages = frozenset[Language] | None
# Short words in "twice the five".
_MAX_WORDS_AFTER_REPEAT = 2


def steps_from(tokens: Sequence[Token], position: int, languages: Languages = None) -> list[Step]:
    """Return what can be read at a position, in these languages or in all.

    A filler reads as nothing. A position that has no step ends the number.
    """
    token = tokens[position]
    if token.digits:
        return [(position + 1, token.digits)]
    steps = [] if token.word.filler is None else [(position + 1, "")]
    for meaning in token.word.meanings:
        if languages is None or meaning.language in languages:
            steps += _steps_of(tokens, position, meaning)
    return list(dict.fromkeys(steps))


def _steps_of(tokens: Sequence[Token], position: int, meaning: Meaning) -> Iterator[Step]:
    after = _after_phrase(tokens, position, meaning)
    if after is None:
        return
    language, value = meaning.language, meaning.value
    is_multiplier = not language.implies_one or is_inside_word(tokens, position)
    match meaning.role:
        case Role.UNIT | Role.TEEN | Role.TEN:
            yield from (
                (end, str(number)) for end, number in _two_digits_of(tokens, after, meaning)
            )
            if meaning.role is Role.UNIT:
                yield from _plural_steps(tokens, after, meaning)
        case Role.HUNDREDS:
            yield after, str(value)
            yield from (
                (end, str(value + number)) for end, number in _rest(tokens, after, language)
            )
        case Role.HUNDRED:
            for end, number in ((after, 0), *_rest(tokens, after, language)):
                yield from _multiplied(end, f"{number:02}", is_multiplier)
        case Role.THOUSAND:
            for end, number in ((after, 0), *_below_thousand(tokens, after, language)):
                yield from _multiplied(end, f"{number:03}", is_multiplier)
        case Role.REPEAT:
            yield from _repeat_steps(tokens, after, value)
        case Role.PLURAL:
            yield after, str(value)


def is_inside_word(tokens: Sequence[Token], position: int) -> bool:
    """Return whether the tokens before and at a position are parts of the same word."""
    return 0 < position < len(tokens) and tokens[position - 1].start == tokens[position].start


def _multiplied(end: int, digits: str, is_multiplier: bool) -> Iterator[Step]:
    """Yield the digits of "hundred" or "thousand", after a number and, if possible, alone."""
    yield end, digits
    if not is_multiplier:
        yield end, f"1{digits}"


def _after_phrase(tokens: Sequence[Token], position: int, meaning: Meaning) -> int | None:
    """Return the position after the words of the meaning, or None if they do not follow."""
    end = position + 1 + len(meaning.next_words)
    words = tuple(token.word.text for token in tokens[position + 1 : end])
    return end if words == meaning.next_words else None


def _meanings_at(
    tokens: Sequence[Token], position: int, language: Language, *roles: Role
) -> Iterator[tuple[int, Meaning]]:
    """Yield each meaning in the language with one of the roles, and the position after it."""
    if position < len(tokens):
        for meaning in tokens[position].word.meanings:
            if meaning.language is language and meaning.role in roles:
                end = _after_phrase(tokens, position, meaning)
                if end is not None:
                    yield end, meaning


def _joined(tokens: Sequence[Token], position: int, joiners: str) -> int | None:
    """Return the position after one of the joining words, or None if there is none."""
    if not joiners or position >= len(tokens):
        return None
    words = [normalize_word(word) for word in joiners.split("|")]
    return position + 1 if tokens[position].word.text in words else None


def _after_optional(tokens: Sequence[Token], position: int, joiners: str) -> tuple[int, ...]:
    """Return the positions at which a number can go on: here, and after a joining word."""
    joined = _joined(tokens, position, joiners)
    return (position,) if joined is None else (position, joined)


def _two_digits_of(
    tokens: Sequence[Token], after: int, meaning: Meaning
) -> Iterator[tuple[int, int]]:
    """Yield each number below 100 that begins with a unit, a teen or a ten."""
    language, value = meaning.language, meaning.value
    yield after, value
    if meaning.role is Role.TEN:
        roles = (Role.UNIT, Role.TEEN) if _continues(language, value) else (Role.UNIT,)
        for start in _after_optional(tokens, after, language.tens_joiner):
            for end, unit in _meanings_at(tokens, start, language, *roles):
                if unit.value > 0:
                    yield end, value + unit.value
    elif meaning.role is Role.UNIT and value > 0:
        start_of_ten = _joined(tokens, after, language.units_joiner)
        if start_of_ten is not None:
            for end, ten in _meanings_at(tokens, start_of_ten, language, Role.TEN):
                yield end, ten.value + value


def _continues(language: Language, value: int) -> bool:
    return language.vigesimal and value in (60, 80)


def _two_digits(
    tokens: Sequence[Token], position: int, language: Language
) -> Iterator[tuple[int, int]]:
    """Yield each number from 1 to 99 at a position."""
    roles = Role.UNIT, Role.TEEN, Role.TEN
    for after, meaning in _meanings_at(tokens, position, language, *roles):
        for end, value in _two_digits_of(tokens, after, meaning):
            if value > 0:
                yield end, value


def _rest(tokens: Sequence[Token], position: int, language: Language) -> Iterator[tuple[int, int]]:
    """Yield each number from 1 to 99 after hundreds."""
    for start in _after_optional(tokens, position, language.hundreds_joiner):
        yield from _two_digits(tokens, start, language)


def _below_thousand(
    tokens: Sequence[Token], position: int, language: Language
) -> Iterator[tuple[int, int]]:
    """Yield each number from 1 to 999 after thousands."""
    yield from _rest(tokens, position, language)
    hundreds: list[tuple[int, int]] = [
        (end, meaning.value)
        for end, meaning in _meanings_at(tokens, position, language, Role.HUNDREDS, Role.HUNDRED)
    ]
    for after, unit in _meanings_at(tokens, position, language, Role.UNIT):
        for end, _ in _meanings_at(tokens, after, language, Role.HUNDRED):
            hundreds.append((end, 100 * unit.value))
    for end, value in hundreds:
        yield end, value
        yield from ((last, value + number) for last, number in _rest(tokens, end, language))


def _repeat_steps(tokens: Sequence[Token], position: int, count: int) -> Iterator[Step]:
    """Yield the steps of "double five" and "double the 5"."""
    for start in range(position, min(position + _MAX_WORDS_AFTER_REPEAT + 1, len(tokens))):
        token = tokens[start]
        if len(token.digits) == 1:
            yield start + 1, token.digits * count
        for meaning in token.word.meanings:
            if meaning.role in (Role.UNIT, Role.PLURAL) and not meaning.next_words:
                yield start + 1, str(meaning.value) * count
        if token.word.filler is None:
            return


def _plural_steps(tokens: Sequence[Token], position: int, count: Meaning) -> Iterator[Step]:
    """Yield the steps of "three fives"."""
    if 2 <= count.value <= 4:
        for end, meaning in _meanings_at(tokens, position, count.language, Role.PLURAL):
            yield end, str(meaning.value) * count.value
