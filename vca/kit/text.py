"""Text that leaves the process: no control characters, no lone surrogates, bounded."""

import re

# XML 1.0 allows no control character but tab and line ends; nobody can speak them either.
_FORBIDDEN_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def sanitize(text: str, *, max_length: int | None = None) -> str:
    """`text` without what no carrier, XML parser or database can hold, at most `longest` long."""
    return _FORBIDDEN_CHARACTERS.sub("", text)[:max_length]
