"""`flask up`: everything on this machine, for development."""

import click


@click.command("up")
def up() -> None:
    """Placeholder while wiring."""
