"""Progress, for a person who waits."""

from time import monotonic

import click

_began_at = monotonic()


def say(text: str) -> None:
    """A line with the seconds since the start."""
    click.secho(f"[{monotonic() - _began_at:5.0f} s] {text}", err=True, dim=True)
