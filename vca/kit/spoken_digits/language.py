"""The number words of one language, in a form that is easy to read and to extend."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """The number words of a language.

    Each text lists words in the order of their values, separated by spaces. `|` separates words of
    the same value, and `_` stands for a space within a word. Case and accents do not matter. Only
    `units` is required; a language with `tens` also has numbers from 0 to 99.
    """

    code: str
    # 0 to 9.
    units: str
    # 10 to 19, or nothing if `ten` and a unit make them.
    teens: str = ""
    # 20, 30, … 90.
    tens: str = ""
    # Forms of 10 that a unit can follow.
    ten: str = ""
    # 100, 200, … 900, if each has a word of its own.
    hundreds: str = ""
    # "hundred" and "thousand", which multiply the number before them.
    hundred: str = ""
    thousand: str = ""
    # Whether they mean 100 and 1000 without a number before them.
    implies_one: bool = True
    # "and" in "thirty and one", and in "one and thirty".
    tens_joiner: str = ""
    units_joiner: str = ""
    # "and" after hundreds.
    hundreds_joiner: str = ""
    # "double", "triple" and "quadruple".
    repeats: str = ""
    # The plural of units, in "three fives".
    plurals: str = ""
    # Whether 60 and 80 continue up to 79 and 99, as in French.
    vigesimal: bool = False
    # Hesitations and the names of separators.
    pauses: str = ""
    # Other words that people say between the digits of one number.
    connectives: str = ""


def entries(words: str) -> list[list[tuple[str, ...]]]:
    """Return the alternatives of each entry, each of which is a tuple of words."""
    return [
        [tuple(word.split("_")) for word in alternatives.split("|")]
        for alternatives in words.split()
    ]
