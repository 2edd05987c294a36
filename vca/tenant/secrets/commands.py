"""`flask secrets`: what is encrypted at rest."""

import sys
from collections.abc import Mapping
from time import monotonic
from typing import Any

import click

from vca.kit import cli, json
from vca.registry import owner
from vca.tenant.secrets import rotation
from vca.tenant.secrets.rotation import Observer, Outcome

secrets = cli.Group("secrets", help="What is encrypted at rest.")

_TELL_EVERY_S = 5.0


class Lines(Observer):
    """One JSON object a line, for logs: every few seconds how far it is, and the end."""

    def __init__(self) -> None:
        self._began_at = self._told_at = monotonic()

    def began(self, tenants: int) -> None:
        self._tell("secrets.rotating", tenants=tenants)

    def advanced(self, tenants: int, resealed: int) -> None:
        if monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = monotonic()
            self._tell("secrets.progress", tenants=tenants, resealed=resealed)

    def summary(self, facts: Mapping[str, Any]) -> None:
        """What came of it."""
        self._tell("secrets.rotated", **facts)

    def _tell(self, event: str, **facts: Any) -> None:
        elapsed_s = round(monotonic() - self._began_at, 3)
        click.echo(json.dumps({"event": event, "elapsed_s": elapsed_s, **facts}))


class Bar(Observer):
    """A progress bar, for a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._done = 0

    def began(self, tenants: int) -> None:
        self._bar = click.progressbar(length=tenants, label="Tenants", show_pos=True)
        self._bar.render_progress()

    def advanced(self, tenants: int, resealed: int) -> None:
        self._bar.update(tenants - self._done)
        self._done = tenants

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.render_finish()


@secrets.command("rotate")
@click.option("--dry-run", is_flag=True, help="Count what would be sealed anew; change nothing.")
@cli.as_json
def rotate(dry_run: bool, as_json: bool) -> None:
    """Seal everything that is encrypted with the newest of ENCRYPTION_KEYS.

    Put a new key in front, restart every process, and run this; then the old key can go. May be
    ended at any time and run again, also several times at once, beside all traffic. Exit status 1
    if something could not be opened, which is named, or needs another run.
    """
    observer = Observer() if as_json else Bar() if sys.stdout.isatty() else Lines()
    with owner.database() as database:
        outcome = rotation.rotate(database, dry_run=dry_run, observer=observer)
    if isinstance(observer, Bar):
        observer.close()
    facts = {**vars(outcome), "unreadable": dict(outcome.unreadable), "dry_run": dry_run}
    if isinstance(observer, Lines):
        observer.summary(facts)
    else:
        cli.emit(facts, as_json=as_json, text="\n".join(_sentences(outcome, dry_run)))
    if not outcome.whole:
        raise SystemExit(1)


def _sentences(outcome: Outcome, dry_run: bool) -> list[str]:
    """The summary for people."""
    would = "would be" if dry_run else "were"
    lines = [f"{outcome.resealed} values of {outcome.tenants} tenants {would} sealed anew."]
    if outcome.left:
        lines.append(f"{outcome.left} were in use whenever we looked: run it again.")
    lines += [f"cannot be opened: {count} in {place}" for place, count in _named(outcome)]
    return lines


def _named(outcome: Outcome) -> list[tuple[str, int]]:
    return sorted(outcome.unreadable.items())
