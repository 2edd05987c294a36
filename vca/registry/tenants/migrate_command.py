"""`flask tenants migrate`: what an operator asks for, and how the run is shown."""

import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any
from uuid import UUID

import click

from vca.kit import cli, json
from vca.kit.db import Database
from vca.kit.errors import NotFound
from vca.registry import owner
from vca.registry.tenants import fleet, service
from vca.registry.tenants.fleet import Range
from vca.tenancy import schema
from vca.tenancy.fleet import LOCK_TIMEOUT_MS, WORKERS, Failure, Observer, Options, Outcome
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public

INTERRUPTED = 130  # as a shell names a process that Ctrl-C ended
_TELL_EVERY_S = 5.0
_NAMED = 20


class Lines(Observer):
    """One JSON object a line, for logs: failures, retries, and every few seconds how far it is."""

    def __init__(self) -> None:
        self._total = 0
        self._began_at = self._told_at = monotonic()

    def began(self, total: int) -> None:
        self._total = total
        self._tell("tenants.migrating", behind=total)

    def advanced(self, done: int) -> None:
        if monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = monotonic()
            self._tell("tenants.progress", done=done, behind=self._total - done)

    def failed(self, tenant: TenantRef, failure: Failure) -> None:
        self._tell("tenant.failed", tenant_id=str(tenant.id), **_described(failure))

    def retrying(self, count: int, pause_s: float) -> None:
        self._tell("tenants.retrying", tenants=count, pause_s=pause_s)

    def stopping(self) -> None:
        self._tell("tenants.stopping")

    def summary(self, facts: Mapping[str, Any]) -> None:
        self._tell("tenants.migrated", **facts)

    def _tell(self, event: str, **facts: Any) -> None:
        elapsed_s = round(monotonic() - self._began_at, 3)
        click.echo(json.dumps({"event": event, "elapsed_s": elapsed_s, **facts}))


class Bar(Observer):
    """A progress bar, for a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._done = 0

    def began(self, total: int) -> None:
        if total:
            self._bar = click.progressbar(length=total, label=f"To {schema.head()}", show_pos=True)
            self._bar.render_progress()

    def advanced(self, done: int) -> None:
        if self._bar is not None and done > self._done:
            self._bar.update(done - self._done)
            self._done = done

    def failed(self, tenant: TenantRef, failure: Failure) -> None:
        self._say(f"skipped: {tenant.id} ({failure})")

    def retrying(self, count: int, pause_s: float) -> None:
        self._say(f"{count} are tried again in {pause_s:g} s.")

    def stopping(self) -> None:
        self._say("Finishing the tenants at work …")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def _say(self, text: str) -> None:
        """A line of its own above the bar."""
        click.echo(f"\r\033[K{text}")
        if self._bar is not None:
            self._bar.render_progress()


@click.option("--workers", type=click.IntRange(1, 64), default=WORKERS, show_default=True)
@click.option("--tenant", "tenant_id", type=click.UUID, metavar="ID", help="Only this one.")
@click.option(
    "--canary",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="N tenants first; if one of them fails, leave the rest alone.",
)
@click.option("--dry-run", is_flag=True, help="Show how many would be migrated, and the SQL.")
@click.option(
    "--lock-timeout",
    "lock_timeout_ms",
    type=click.IntRange(1, 60_000),
    default=LOCK_TIMEOUT_MS,
    show_default=True,
    metavar="MS",
    help="How long one tenant's traffic may be held up behind a lock that we wait for.",
)
@cli.as_json
def migrate(
    workers: int,
    tenant_id: UUID | None,
    canary: int | None,
    dry_run: bool,
    lock_timeout_ms: int,
    as_json: bool,
) -> None:
    """Bring every tenant's schema to this code's revision; one transaction each.

    May be ended at any time and run again, also several times at once. A tenant that fails is
    skipped, tried again, and named. Exit status 1 if a tenant is left behind, 130 after Ctrl-C.
    """
    options = Options(workers=workers, lock_timeout_ms=lock_timeout_ms, canary=canary or 0)
    with owner.database(connections=2 * workers) as database:
        if tenant_id is not None:
            _require(database, tenant_id)
        if dry_run:
            _show_plan(database, tenant_id, as_json)
            return
        status = _run(database, tenant_id, options, as_json)
    raise SystemExit(status)


def _require(database: Database, tenant_id: UUID) -> None:
    try:
        with public(database=database) as session:
            service.get(session, tenant_id=tenant_id)
    except NotFound:
        cli.fail(f"There is no tenant {tenant_id}.")


def _run(database: Database, only: UUID | None, options: Options, as_json: bool) -> int:
    """Migrate and show it in the way that fits who is looking; the exit status."""
    observer = Observer() if as_json else Bar() if _on_a_terminal() else Lines()
    outcome, ahead = fleet.migrate(database, only=only, options=options, observer=observer)
    facts = _facts(outcome, ahead)
    if isinstance(observer, Lines):
        observer.summary(facts)
    else:
        if isinstance(observer, Bar):
            observer.close()
        cli.emit(facts, as_json=as_json, text="\n".join(_sentences(outcome, ahead)))
    if outcome.interrupted:
        return INTERRUPTED
    return 1 if outcome.left else 0


def _on_a_terminal() -> bool:
    return sys.stdout.isatty()


def _facts(outcome: Outcome, ahead: Mapping[TenantRef, str]) -> dict[str, Any]:
    return {
        "head": schema.head(),
        "migrated": outcome.migrated,
        "left": outcome.left,
        "failed": {str(one.id): _described(why) for one, why in outcome.failed.items()},
        "ahead": {str(tenant.id): revision for tenant, revision in ahead.items()},
        "interrupted": outcome.interrupted,
        "stopped_at_canary": outcome.stopped_at_canary,
        "database_away": outcome.database_away,
    }


def _described(failure: Failure) -> dict[str, str | None]:
    return {
        "sqlstate": failure.sqlstate,
        "reason": failure.reason,
        "message": failure.message,
    }


def _sentences(outcome: Outcome, ahead: Mapping[TenantRef, str]) -> Sequence[str]:
    """The summary for people."""
    lines = [f"{outcome.migrated} migrated to {schema.head()}, {outcome.left} left."]
    if outcome.interrupted:
        lines.append("Interrupted: the next run goes on.")
    if outcome.database_away:
        lines.append("The database does not answer: the next run goes on.")
    if outcome.stopped_at_canary:
        lines.append("Stopped: a tenant of the canary failed, the rest was left alone.")
    lines += _some([f"failed: {one.id} ({why})" for one, why in outcome.failed.items()])
    lines += _some([f"ahead of this code: {one.id} at {it}" for one, it in ahead.items()])
    return lines


def _some(lines: list[str]) -> list[str]:
    """All failures of a bad migration would scroll away what matters; `--json` names them all."""
    more = len(lines) - _NAMED
    return [*lines[:_NAMED], f"… and {more} more"] if more > 0 else lines


def _show_plan(database: Database, only: UUID | None, as_json: bool) -> None:
    found, ahead = fleet.ranges(database, only=only)
    facts = {
        "head": schema.head(),
        "behind": [{"revision": it.revision, "tenants": it.tenants, "sql": it.sql} for it in found],
        "ahead": ahead,
    }
    cli.emit(facts, as_json=as_json, text="\n".join(_plan(found, ahead)))


def _plan(found: Sequence[Range], ahead: Mapping[str, int]) -> list[str]:
    lines = [f"{sum(it.tenants for it in found)} would be migrated to {schema.head()}."]
    for it in found:
        lines += ["", f"-- {it.tenants} from {it.revision} to {schema.head()}", it.sql]
    lines += [f"{count} at {revision} are ahead of this code" for revision, count in ahead.items()]
    return lines
