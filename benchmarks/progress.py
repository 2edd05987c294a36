"""Progress, for a person who waits."""

from time import monotonic

import click

_started_at = monotonic()


def print_progress(text: str) -> None:
    """A line with the seconds since the start."""
    click.secho(f"[{monotonic() - _started_at:5.0f} s] {text}", err=True, dim=True)
