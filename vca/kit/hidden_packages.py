"""Import a library without optional packages that only development tools have installed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hide_packages(*names: str) -> Iterator[None]:
    """Let imports of these packages fail in the block, unless they are loaded already.

    Libraries import optional packages whenever they are installed. Production does not install
    these, and loading them for nothing takes a twentieth of the start-up time in development.
    """
    hidden_names = [name for name in names if name not in sys.modules]
    for name in hidden_names:
        sys.modules[name] = None  # type: ignore[assignment] # documented: the import fails
    try:
        yield
    finally:
        for name in hidden_names:
            del sys.modules[name]
