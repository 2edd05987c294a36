"""Text that leaves the process: no control characters, no lone surrogates, bounded length."""

import re

# XML 1.0 allows no control characters except tab and line ends, and speech synthesis cannot use
# them.
_FORBIDDEN_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def sanitize(text: str, *, max_length: int | None = None) -> str:
    """Remove the characters that carriers, XML parsers or databases reject; cut to `max_length`."""
    return _FORBIDDEN_CHARACTERS.sub("", text)[:max_length]
