"""Progress messages for the person who runs the benchmarks."""

from time import monotonic

import click

_started_at = monotonic()


def print_progress(text: str) -> None:
    """Print a line with the seconds since the start."""
    click.secho(f"[{monotonic() - _started_at:5.0f} s] {text}", err=True, dim=True)
