"""The root of all that this package refuses; the module that raises a kind defines it."""

from collections.abc import Iterator
from contextlib import contextmanager


class EmbeddedError(Exception):
    """An expected failure of the embedded server, told in one clear sentence."""


@contextmanager
def translate_os_errors() -> Iterator[None]:
    """Tell what the system refuses (permission, space, a read-only disk) as an EmbeddedError."""
    try:
        yield
    except OSError as error:
        prefix = f"{error.filename}: " if error.filename else ""
        raise EmbeddedError(f"embedded server: {prefix}{error.strerror or error}") from error
