"""`flask secrets`: manage the encryption of stored secrets."""

import sys
from collections.abc import Mapping
from time import monotonic
from typing import Any

import click
from typing_extensions import override

from vca import cli
from vca.kit import json
from vca.registry import owner_connections
from vca.services import current_services
from vca.tenant.key_rotation import rotation
from vca.tenant.key_rotation.rotation import Observer, RotationResult

secrets = cli.Group("secrets", help="Manage the encryption of stored secrets.")

_PROGRESS_INTERVAL_S = 5.0


class JsonProgress(Observer):
    """Prints one JSON object per line, for logs: start, progress every few seconds, result."""

    def __init__(self) -> None:
        self._started_at = self._printed_at = monotonic()

    @override
    def on_start(self, tenants: int) -> None:
        self._print_event("secrets.rotating", tenants=tenants)

    @override
    def on_progress(self, tenants: int, resealed: int) -> None:
        if monotonic() - self._printed_at >= _PROGRESS_INTERVAL_S:
            self._printed_at = monotonic()
            self._print_event("secrets.progress", tenants=tenants, resealed=resealed)

    def summary(self, facts: Mapping[str, Any]) -> None:
        """Print the result."""
        self._print_event("secrets.rotated", **facts)

    def _print_event(self, event: str, **facts: Any) -> None:
        elapsed_s = round(monotonic() - self._started_at, 3)
        click.echo(json.dumps({"event": event, "elapsed_s": elapsed_s, **facts}))


class ProgressBar(Observer):
    """A progress bar, for a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._done = 0

    @override
    def on_start(self, tenants: int) -> None:
        self._bar = click.progressbar(length=tenants, label="Tenants", show_pos=True)
        self._bar.render_progress()

    @override
    def on_progress(self, tenants: int, resealed: int) -> None:
        self._bar.update(tenants - self._done)
        self._done = tenants

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.render_finish()


@secrets.command("rotate", short_help="Re-encrypt all secrets with the newest key.")
@click.option("--dry-run", is_flag=True, help="Count the values to re-encrypt; change nothing.")
@cli.as_json
def rotate(dry_run: bool, as_json: bool) -> None:
    """Re-encrypt everything with the newest of ENCRYPTION_KEYS.

    Put a new key in front, restart every process, and run this. The old key can then be removed.
    The command can be stopped at any time and run again, also several times in parallel and under
    full traffic. Exit status 1 means that some values could not be decrypted, which are listed, or
    that another run is needed.
    """
    observer = Observer() if as_json else ProgressBar() if sys.stdout.isatty() else JsonProgress()
    with owner_connections.owner_database() as database:
        outcome = rotation.rotate(
            database, dry_run=dry_run, observer=observer, services=current_services()
        )
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
    """Return the human-readable summary."""
    verb = "would be" if dry_run else "were"
    lines = [f"{outcome.resealed} values of {outcome.tenants} tenants {verb} re-encrypted."]
    if outcome.left:
        lines.append(f"{outcome.left} values were locked or changing. Run the command again.")
    lines += [
        f"Cannot be decrypted: {count} values in {place}."
        for place, count in _unreadable_places(outcome)
    ]
    return lines


def _unreadable_places(outcome: RotationResult) -> list[tuple[str, int]]:
    return sorted(outcome.unreadable.items())
