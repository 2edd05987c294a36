"""The little English that the scripted model needs."""

import re
from collections.abc import Collection, Iterable
from textwrap import shorten

from vca.conversation import phrase_matching

MAX_ECHO_CHARS = 200
CONNECTING = "One moment, I am connecting you."


def _words(line: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", line.lower().replace("’", "'"))


_GREETING = frozenset(_words("hello hi hey good morning afternoon evening day there"))
_YES = frozenset(_words("yes yeah yep yup correct right exactly sure ok okay please"))
_NO = frozenset(_words("no nope not wrong nothing never"))
_GOODBYES = ("goodbye", "bye", "thank you", "thanks", "cheers")
_MAX_NAME_WORDS = 5
_NOT_IN_NAMES = frozenset(
    _words(
        "i i'm i'd i'll i've we you it the what why when who how is are was do does can could "
        "would want need have don't not no nothing"
    )
)
_DENIAL = frozenset(_words("no not that that's thats is it quite right correct wrong sorry else"))
_INTRODUCTION = re.compile(
    r"(?i:\bmy name(?: is|'s|’s)\s+)(?P<told>[\w'’-]+(?:\s+[A-Z][\w'’-]*){0,2})"
    r"|(?i:\b(?:this is|i am|i'm|i’m)\s+)(?P<shown>[A-Z][\w'’-]*(?:\s+[A-Z][\w'’-]*){0,2})"
)
_HELLO = re.compile(
    r"^\W*(?:(?:hi|hello|hey)(?: there)?|good (?:morning|afternoon|evening|day))\b\W*(?:and\b\W*)?",
    re.IGNORECASE,
)
_NAME_LEAD_IN = re.compile(
    r"^(?:\W*(?:it is|it's|it’s|this is|i am|i'm|i’m|my name(?: is|'s|’s)|uh|um|yes|sure)\b)+\W*",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(r"^\W*(?:it is|it's|it’s|this is|uh|um|and)\b\W*", re.IGNORECASE)
_SECOND_PERSON = {
    "i": "you",
    "i'm": "you are",
    "i've": "you have",
    "i'd": "you would",
    "i'll": "you will",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "we": "you",
    "we're": "you are",
    "we've": "you have",
    "we'd": "you would",
    "us": "you",
    "our": "your",
}
_CONNECT = frozenset(_words("transfer connect put speak talk reach"))
_HUMAN = frozenset(_words("person human somebody someone people operator"))
_QUESTION_WORDS = frozenset(
    _words(
        "what what's when when's where where's who who's whom which why how how's is are am was do "
        "does did can could may might would will shall should have has any"
    )
)
_OPENING = frozenset(_words("open opens opening close closes closing closed shut"))
_WHO_ANSWERS = re.compile(
    r"\b(?:who|what) are you\b|\bare you (?:a|an|the|really|real|human)\b|\bwho am i\b|"
    r"\b(?:robot|chatbot|bot|ai|language model|artificial)\b",
    re.IGNORECASE,
)
_WHO_ELSE = re.compile(
    r"\bwho(?:m)?\b.*\b(?:talk|speak|reach|connect|put|else|there|works?)\b|"
    r"\b(?:which|what) (?:departments?|people|teams?|extensions?)\b",
    re.IGNORECASE,
)
_HELP = re.compile(
    r"\bwhat (?:else )?(?:can|could|do) (?:you|i) (?:do|help|say|ask|offer)\b|"
    r"\bhow (?:can|could|do) you help\b|^\W*(?:please |can you |could you )?help(?: me)?\W*$|"
    r"\bwhat are my options\b",
    re.IGNORECASE,
)
_MESSAGE = re.compile(
    r"\b(?:take|leave|pass on|give)\b.{0,20}\bmessage\b|\bcall me back\b|\bring me back\b",
    re.IGNORECASE,
)
_OWN_REQUEST = re.compile(r"^\W*(?:can|could|may|might) (?:i|we) (?:please )?", re.IGNORECASE)
_REQUEST_TO_US = re.compile(
    r"^\W*(?:(?:can|could|would|will) (?:you|someone|somebody)|please) (?:please )?", re.IGNORECASE
)
_PRONOUN = re.compile(r"(?<![\w'])(i am|i was|[a-z']+)(?![\w'])", re.IGNORECASE)


def is_greeting(line: str) -> bool:
    """Return whether the line only says hello."""
    words = _words(line)
    return bool(words) and set(words) <= _GREETING


def is_goodbye(line: str) -> bool:
    """Return whether the line only thanks or says goodbye."""
    return phrase_matching.ends_call(_GOODBYES, line, language="en")


def is_yes(line: str) -> bool:
    """Return whether the line agrees and adds nothing."""
    words = _words(line)
    return len(words) <= 5 and not _YES.isdisjoint(words[:2]) and not is_no(line)


def is_no(line: str) -> bool:
    """Return whether the line starts with a denial."""
    return not _NO.isdisjoint(_words(line)[:1])


def transfer_target(line: str, targets: Collection[str]) -> str | None:
    """Return the target that the speaker asks to be connected with, or None."""
    return None if _CONNECT.isdisjoint(_words(line)) else named_target(line, targets)


def wants_human(line: str) -> bool:
    """Return whether the speaker asks for a human."""
    words = _words(line)
    return not _CONNECT.isdisjoint(words) and not _HUMAN.isdisjoint(words)


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


def asks_to_connect(line: str) -> bool:
    """Return whether the speaker wants to be connected, or asks with whom that is possible."""
    words = _words(line)
    wants_connection = {"connect", "transfer"} & set(words) or {"put", "through"} <= set(words)
    return bool(wants_connection) or _WHO_ELSE.search(line) is not None


def asks_hours(line: str) -> bool:
    """Return whether the speaker asks when the business is open."""
    words = _words(line)
    if "hours" in words and ("opening" in words or len(words) <= 3 or is_question(line)):
        return True
    return is_question(line) and not _OPENING.isdisjoint(words)


def asks_identity(line: str) -> bool:
    """Return whether the speaker asks who or what answers."""
    return _WHO_ANSWERS.search(line) is not None


def asks_help(line: str) -> bool:
    """Return whether the speaker asks what can be done in this call."""
    return _HELP.search(line) is not None


def wants_message(line: str) -> bool:
    """Return whether the speaker wants to leave a message or to be called back."""
    return _MESSAGE.search(line) is not None


def is_question(line: str) -> bool:
    """Return whether the line is a question."""
    remainder = _HELLO.sub("", line)
    return line.rstrip().endswith("?") or not _QUESTION_WORDS.isdisjoint(_words(remainder)[:1])


def is_request(line: str) -> bool:
    """Return whether the line asks for something to be done, perhaps as a question."""
    remainder = _HELLO.sub("", line)
    return bool(_OWN_REQUEST.match(remainder) or _REQUEST_TO_US.match(remainder))


def join_choices(choices: Iterable[str], conjunction: str) -> str:
    """Return the choices as a list: "a", "a or b", "a, b, or c"."""
    *others, last = choices
    comma = "," if len(others) > 1 else ""
    return f"{', '.join(others)}{comma} {conjunction} {last}" if others else last


def correction(line: str) -> str:
    """Return what a denial says instead, empty if it only denies."""
    return "" if set(_words(line)) <= _DENIAL | _NO else re.sub(r"^\W*\w+\W*", "", line)


def split_introduction(line: str) -> tuple[str | None, str]:
    """Return the name that the speaker gives, None if none, and the rest of the line."""
    match = _INTRODUCTION.search(line)
    if match is None:
        return None, line
    return _capitalise(match["told"] or match["shown"]), line.replace(match[0], "", 1)


def extract_name(line: str) -> str | None:
    """Return the name in an answer to "What is your name?", or None if the answer has no name."""
    introduced_name, _ = split_introduction(line)
    if introduced_name is not None:
        return introduced_name
    name = strip_line(_NAME_LEAD_IN.sub("", line)) or strip_line(line)
    words = _words(name)
    if not 0 < len(words) <= _MAX_NAME_WORDS or not _NOT_IN_NAMES.isdisjoint(words):
        return None
    return _capitalise(name)


def strip_greeting(line: str) -> str:
    """Return the line without its greeting; it may be empty."""
    remainder = _HELLO.sub("", line)
    return _LEAD_IN.sub("", remainder) or remainder


def to_second_person(line: str) -> str:
    """Return the line in the second person: "my boiler leaks" becomes "your boiler leaks"."""
    bare_line = strip_line(line).replace("’", "'")
    for pattern, lead_in in (
        (_OWN_REQUEST, "you would like to "),
        (_REQUEST_TO_US, "you would like us to "),
    ):
        if match := pattern.match(bare_line):
            return lead_in + _replace_pronouns(bare_line[match.end() :])
    if line.rstrip().endswith("?"):
        return f"you ask, {bare_line}"
    return _replace_pronouns(bare_line)


def _replace_pronouns(line: str) -> str:
    return _PRONOUN.sub(lambda match: _second_person_word(match[0]), line)


def _second_person_word(word: str) -> str:
    normalised = " ".join(word.lower().split())
    if normalised in ("i am", "i was"):
        return "you are" if normalised == "i am" else "you were"
    return _SECOND_PERSON.get(normalised, word)


def strip_line(line: str) -> str:
    """Return the line, shortened for repeating it and without punctuation at its ends."""
    return shorten(line, MAX_ECHO_CHARS, placeholder=" and so on").strip(" \t.,;:!?…-")


def _capitalise(name: str) -> str:
    return name.title() if name.islower() else name
