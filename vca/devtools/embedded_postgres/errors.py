"""The base class of this package's errors; subclasses are defined where they are raised."""

from collections.abc import Iterator
from contextlib import contextmanager


class EmbeddedError(Exception):
    """An expected failure of the embedded server, described in one sentence."""


@contextmanager
def translate_os_errors() -> Iterator[None]:
    """Turn OSError (permission, space, a read-only disk) into EmbeddedError."""
    try:
        yield
    except OSError as error:
        prefix = f"{error.filename}: " if error.filename else ""
        raise EmbeddedError(f"embedded server: {prefix}{error.strerror or error}") from error
