"""`flask secrets`: what is encrypted at rest."""

import sys
from collections.abc import Mapping
from time import monotonic
from typing import Any

import click

from vca import cli
from vca.kit import json
from vca.registry import owner_connections
from vca.tenant.key_rotation import rotation
from vca.tenant.key_rotation.rotation import Observer, RotationResult

secrets = cli.Group("secrets", help="What is encrypted at rest.")

_PROGRESS_INTERVAL_S = 5.0


class JsonProgress(Observer):
    """One JSON object a line, for logs: every few seconds how far it is, and the end."""

    def __init__(self) -> None:
        self._started_at = self._printed_at = monotonic()

    def on_start(self, tenants: int) -> None:
        self._print_event("secrets.rotating", tenants=tenants)

    def on_progress(self, tenants: int, resealed: int) -> None:
        if monotonic() - self._printed_at >= _PROGRESS_INTERVAL_S:
            self._printed_at = monotonic()
            self._print_event("secrets.progress", tenants=tenants, resealed=resealed)

    def summary(self, facts: Mapping[str, Any]) -> None:
        """What came of it."""
        self._print_event("secrets.rotated", **facts)

    def _print_event(self, event: str, **facts: Any) -> None:
        elapsed_s = round(monotonic() - self._started_at, 3)
        click.echo(json.dumps({"event": event, "elapsed_s": elapsed_s, **facts}))


class ProgressBar(Observer):
    """A progress bar, for a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._done = 0

    def on_start(self, tenants: int) -> None:
        self._bar = click.progressbar(length=tenants, label="Tenants", show_pos=True)
        self._bar.render_progress()

    def on_progress(self, tenants: int, resealed: int) -> None:
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
    observer = Observer() if as_json else ProgressBar() if sys.stdout.isatty() else JsonProgress()
    with owner_connections.owner_database() as database:
        outcome = rotation.rotate(database, dry_run=dry_run, observer=observer)
    if isinstance(observer, ProgressBar):
        observer.close()
    facts = {**vars(outcome), "unreadable": dict(outcome.unreadable), "dry_run": dry_run}
    if isinstance(observer, JsonProgress):
        observer.summary(facts)
    else:
        cli.print_result(facts, as_json=as_json, text="\n".join(_summary_lines(outcome, dry_run)))
    if not outcome.complete:
        raise SystemExit(1)


def _summary_lines(outcome: RotationResult, dry_run: bool) -> list[str]:
    """The summary for people."""
    verb = "would be" if dry_run else "were"
    lines = [f"{outcome.resealed} values of {outcome.tenants} tenants {verb} sealed anew."]
    if outcome.left:
        lines.append(f"{outcome.left} were in use whenever we looked: run it again.")
    lines += [
        f"cannot be opened: {count} in {place}" for place, count in _unreadable_places(outcome)
    ]
    return lines


def _unreadable_places(outcome: RotationResult) -> list[tuple[str, int]]:
    return sorted(outcome.unreadable.items())
