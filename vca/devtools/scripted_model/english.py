"""The little English that the scripted model needs."""

import re
from collections.abc import Collection, Iterable
from textwrap import shorten

from vca.conversation import phrase_matching

MAX_ECHO_CHARS = 200


def _words(line: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", line.lower().replace("’", "'"))


_GREETING = frozenset(_words("hello hi hey good morning afternoon evening day there"))
_YES = frozenset(_words("yes yeah yep right exactly sure ok okay please"))
_NO = frozenset(_words("no nope not nothing"))
_GOODBYES = ("goodbye", "bye", "thank you", "thanks", "cheers")
_NAME_LEAD_IN = re.compile(
    r"^\W*(?:it is|it's|it’s|this is|i am|i'm|i’m|my name(?: is|'s|’s))\b\W*", re.IGNORECASE
)
_CONNECT = frozenset(_words("transfer connect put speak talk reach"))
_HUMAN = frozenset(_words("person human somebody someone people operator"))
_QUESTION_WORDS = frozenset(
    _words(
        "what what's when when's where where's who who's whom which why how how's is are am was do "
        "does did can could may might would will shall should have has any"
    )
)
_OPENING = frozenset(_words("open opens opening close closes closing closed shut"))
_WHO_ELSE = re.compile(r"\bwhom?\b.*\b(?:talk|speak|reach|connect|put|else|there)\b", re.IGNORECASE)
_MESSAGE = re.compile(r"\b(?:take|leave|pass on|give)\b.{0,20}\bmessage\b", re.IGNORECASE)
_REQUEST = re.compile(
    r"^\W*(?:please|(?:can|could|may|might|would|will) (?:i|we|you|someone|somebody))\b",
    re.IGNORECASE,
)
_ABILITY = re.compile(r"\b(?:what|how) can (?:you|i)\b|\bhelp(?: me)?\W*$", re.IGNORECASE)
_HELLO = re.compile(
    r"^\W*(?:(?:hi|hello|hey)(?: there)?|good (?:morning|afternoon|evening|day))\b\W*",
    re.IGNORECASE,
)


def is_greeting(line: str) -> bool:
    """Return whether the line only says hello, or nothing."""
    return set(_words(line)) <= _GREETING


def is_goodbye(line: str) -> bool:
    """Return whether the line only thanks or says goodbye."""
    return phrase_matching.ends_call(_GOODBYES, line, language="en")


def is_yes(line: str) -> bool:
    """Return whether the line agrees and adds nothing."""
    words = _words(line)
    return len(words) <= 3 and not _YES.isdisjoint(words[:1])


def is_no(line: str) -> bool:
    """Return whether the line denies and adds nothing."""
    words = _words(line)
    return len(words) <= 3 and not _NO.isdisjoint(words[:1])


def wants_connection(line: str) -> bool:
    """Return whether the line has a word for being connected with somebody."""
    return not _CONNECT.isdisjoint(_words(line))


def wants_human(line: str) -> bool:
    """Return whether the speaker asks for a human."""
    return wants_connection(line) and not _HUMAN.isdisjoint(_words(line))


def asks_for_targets(line: str) -> bool:
    """Return whether the speaker wants to be connected, or asks with whom that is possible."""
    words = set(_words(line))
    wants_connection = {"connect", "transfer"} & words or {"put", "through"} <= words
    return bool(wants_connection or _WHO_ELSE.search(line))


def named_target(line: str, targets: Collection[str]) -> str | None:
    """Return the target that the line names, in whole or by a word of its own, or None."""
    line_words = _words(line)
    padded_line = f" {' '.join(line_words)} "
    matches = [target for target in targets if f" {' '.join(_words(target))} " in padded_line]
    if matches:
        return max(matches, key=len)
    by_word = {target: {word for word in _words(target) if len(word) > 3} for target in targets}
    named = [target for target, words in by_word.items() if words & set(line_words)]
    return named[0] if len(named) == 1 else None


def asks_hours(line: str) -> bool:
    """Return whether the speaker asks when the business is open."""
    words = _words(line)
    return {"opening", "hours"} <= set(words) or (
        _starts_question(line) and not _OPENING.isdisjoint(words)
    )


def wants_message(line: str) -> bool:
    """Return whether the speaker wants to leave a message."""
    return _MESSAGE.search(line) is not None


def is_question(line: str) -> bool:
    """Return whether the line asks for an answer, and not for something to be done."""
    asks = line.rstrip().endswith("?") or _starts_question(line)
    is_request = _REQUEST.match(_HELLO.sub("", line))
    return bool(_ABILITY.search(line) or (asks and not is_request))


def _starts_question(line: str) -> bool:
    return not _QUESTION_WORDS.isdisjoint(_words(_HELLO.sub("", line))[:1])


def join_choices(choices: Iterable[str], conjunction: str) -> str:
    """Return the choices as a list: "a", "a or b", "a, b, or c"."""
    *others, last = choices
    comma = "," if len(others) > 1 else ""
    return f"{', '.join(others)}{comma} {conjunction} {last}" if others else last


def extract_name(line: str) -> str:
    """Return the name in an answer to the question for it."""
    return strip_line(_NAME_LEAD_IN.sub("", line)) or strip_line(line)


def strip_line(line: str) -> str:
    """Return the line, shortened for repeating it and without punctuation at its ends."""
    return shorten(line, MAX_ECHO_CHARS, placeholder=" and so on").strip(" \t.,;:!?…-")
