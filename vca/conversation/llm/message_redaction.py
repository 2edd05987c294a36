"""Remove keys and prompts from the error messages of model servers, which may repeat them."""

import re
from collections.abc import Iterable

MAX_MESSAGE_CHARS = 200
_MIN_RUN_CHARS = 6
_MAX_READ_CHARS = 2_000
_REPLACEMENT = "…"


def redact_message(message: str, secrets: Iterable[str]) -> str:
    """Return the message without every run of six or more characters that occurs in a secret.

    Upper and lower case are the same. The result has at most 200 printable characters.
    """
    printable = "".join(char if char.isprintable() else " " for char in message)
    return _replace_runs(list(printable[:_MAX_READ_CHARS]), secrets)[:MAX_MESSAGE_CHARS]


def remove_quotes(message: str, texts: Iterable[str]) -> str:
    """Return the message without runs of whole words, six or more characters, that a text has."""
    return _replace_runs(re.findall(r"\w+|\W", message[:_MAX_READ_CHARS]), texts)


def _replace_runs(parts: list[str], texts: Iterable[str]) -> str:
    """Replace the longest runs of parts that occur in a text."""
    haystack = "\0".join(texts).lower()
    result: list[str] = []
    position = 0
    while position < len(parts):
        run, end = "", position
        while end < len(parts) and (longer := run + parts[end].lower()) in haystack:
            run, end = longer, end + 1
        if len(run) >= _MIN_RUN_CHARS:
            result.append(_REPLACEMENT)
            position = end
        else:
            result.append(parts[position])
            position += 1
    return "".join(result)
