"""`flask tenants migrate`: its options, and how the progress of a run is printed."""

import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any
from uuid import UUID

import click
from typing_extensions import override

from vca import cli
from vca.kit import json
from vca.kit.errors import NotFound
from vca.registry import owner_connections
from vca.registry.tenants import revision_store, service
from vca.registry.tenants.revision_store import RevisionGroup
from vca.tenancy import schema
from vca.tenancy.database import TenantDatabase
from vca.tenancy.migration_runner import (
    LOCK_TIMEOUT_MS,
    WORKERS,
    MigrationFailure,
    MigrationOptions,
    MigrationOutcome,
    Observer,
)
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

INTERRUPTED = 130  # the shell's exit status for a process that Ctrl-C ended
_REPORT_INTERVAL_S = 5.0
_MAX_LISTED_TENANTS = 20


class JsonProgress(Observer):
    """Print a JSON object per line, for logs: failures, retries, and progress every few seconds."""

    def __init__(self) -> None:
        self._total = 0
        self._started_at = self._reported_at = monotonic()

    @override
    def on_start(self, total: int) -> None:
        self._total = total
        self._print_event("tenants.migrating", behind=total)

    @override
    def on_progress(self, migrated: int) -> None:
        if monotonic() - self._reported_at >= _REPORT_INTERVAL_S:
            self._reported_at = monotonic()
            self._print_event("tenants.progress", done=migrated, behind=self._total - migrated)

    @override
    def on_failure(self, tenant: TenantRef, failure: MigrationFailure) -> None:
        self._print_event("tenant.failed", tenant_id=str(tenant.id), **_failure_facts(failure))

    @override
    def on_retry(self, count: int, pause_s: float) -> None:
        self._print_event("tenants.retrying", tenants=count, pause_s=pause_s)

    @override
    def on_interrupt(self) -> None:
        self._print_event("tenants.stopping")

    def summary(self, facts: Mapping[str, Any]) -> None:
        """Print the outcome of the run."""
        self._print_event("tenants.migrated", **facts)

    def _print_event(self, event: str, **facts: Any) -> None:
        elapsed_s = round(monotonic() - self._started_at, 3)
        click.echo(json.dumps({"event": event, "elapsed_s": elapsed_s, **facts}))


class ProgressBar(Observer):
    """Show a progress bar on a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._migrated = 0

    @override
    def on_start(self, total: int) -> None:
        if total:
            self._bar = click.progressbar(length=total, label=f"To {schema.head()}", show_pos=True)
            self._bar.render_progress()

    @override
    def on_progress(self, migrated: int) -> None:
        if self._bar is not None and migrated > self._migrated:
            self._bar.update(migrated - self._migrated)
            self._migrated = migrated

    @override
    def on_failure(self, tenant: TenantRef, failure: MigrationFailure) -> None:
        self._print_line(f"skipped: {tenant.id} ({failure})")

    @override
    def on_retry(self, count: int, pause_s: float) -> None:
        self._print_line(f"Retrying {count} tenants in {pause_s:g} s.")

    @override
    def on_interrupt(self) -> None:
        self._print_line("Finishing the tenants in progress …")

    def close(self) -> None:
        """End the line of the progress bar."""
        if self._bar is not None:
            self._bar.render_finish()

    def _print_line(self, text: str) -> None:
        """Print a line above the bar."""
        click.echo(f"\r\033[K{text}")
        if self._bar is not None:
            self._bar.render_progress()


@click.option("--workers", type=click.IntRange(1, 64), default=WORKERS, show_default=True)
@click.option(
    "--tenant", "tenant_id", type=click.UUID, metavar="ID", help="Migrate only this tenant."
)
@click.option(
    "--canary",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Migrate N tenants first; stop if one of them fails.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show the number of tenants and the SQL, and change nothing."
)
@click.option(
    "--lock-timeout",
    "lock_timeout_ms",
    type=click.IntRange(1, 60_000),
    default=LOCK_TIMEOUT_MS,
    show_default=True,
    metavar="MS",
    help="How long a migration may wait for a lock, and block the tenant's requests.",
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
    """Migrate the schemas of tenants to the head.

    Each tenant is migrated in one transaction. You can stop the command at any time, run it again,
    and run it several times at once. A tenant that fails is skipped, tried again, and listed. The
    exit status is 1 if a tenant is left behind, and 130 after Ctrl-C.
    """
    options = MigrationOptions(workers=workers, lock_timeout_ms=lock_timeout_ms, canary=canary or 0)
    with owner_connections.owner_database(connections=2 * workers) as database:
        if tenant_id is not None:
            _require_tenant(database, tenant_id)
        if dry_run:
            _print_plan(database, tenant_id, as_json)
            return
        status = _run_migration(database, tenant_id, options, as_json)
    raise SystemExit(status)


def _require_tenant(database: TenantDatabase, tenant_id: UUID) -> None:
    try:
        with public_session(database=database) as session:
            service.get(session, tenant_id=tenant_id)
    except NotFound:
        cli.fail(f"Tenant not found: {tenant_id}.")


def _run_migration(
    database: TenantDatabase, tenant_id: UUID | None, options: MigrationOptions, as_json: bool
) -> int:
    """Migrate, and report in the format for the reader; return the exit status."""
    observer = Observer() if as_json else ProgressBar() if _is_terminal() else JsonProgress()
    outcome, ahead = revision_store.migrate_tenants(
        database, tenant_id=tenant_id, options=options, observer=observer
    )
    facts = _outcome_facts(outcome, ahead)
    if isinstance(observer, JsonProgress):
        observer.summary(facts)
    else:
        if isinstance(observer, ProgressBar):
            observer.close()
        cli.print_result(facts, as_json=as_json, text="\n".join(_summary_lines(outcome, ahead)))
    if outcome.interrupted:
        return INTERRUPTED
    return 1 if outcome.remaining else 0


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _outcome_facts(outcome: MigrationOutcome, ahead: Mapping[TenantRef, str]) -> dict[str, Any]:
    return {
        "head": schema.head(),
        "migrated": outcome.migrated,
        "left": outcome.remaining,
        "failed": {
            str(tenant.id): _failure_facts(failure) for tenant, failure in outcome.failed.items()
        },
        "ahead": {str(tenant.id): revision for tenant, revision in ahead.items()},
        "interrupted": outcome.interrupted,
        "stopped_at_canary": outcome.stopped_at_canary,
        "database_away": outcome.database_unavailable,
    }


def _failure_facts(failure: MigrationFailure) -> dict[str, str | None]:
    return {
        "sqlstate": failure.sqlstate,
        "reason": failure.reason,
        "message": failure.message,
    }


def _summary_lines(outcome: MigrationOutcome, ahead: Mapping[TenantRef, str]) -> Sequence[str]:
    """Return the summary as text."""
    lines = [f"{outcome.migrated} migrated to {schema.head()}, {outcome.remaining} left."]
    if outcome.interrupted:
        lines.append("Interrupted. Run the command again to continue.")
    if outcome.database_unavailable:
        lines.append("The database does not respond. Run the command again to continue.")
    if outcome.stopped_at_canary:
        lines.append("Stopped: a canary tenant failed; the other tenants were not migrated.")
    lines += _truncate_list(
        [f"failed: {tenant.id} ({failure})" for tenant, failure in outcome.failed.items()]
    )
    lines += _truncate_list(
        [f"ahead of this code: {tenant.id} at {revision}" for tenant, revision in ahead.items()]
    )
    return lines


def _truncate_list(lines: list[str]) -> list[str]:
    """Shorten the list, so that many failures do not hide the summary; `--json` lists them all."""
    omitted = len(lines) - _MAX_LISTED_TENANTS
    return [*lines[:_MAX_LISTED_TENANTS], f"… and {omitted} more"] if omitted > 0 else lines


def _print_plan(database: TenantDatabase, tenant_id: UUID | None, as_json: bool) -> None:
    groups, ahead = revision_store.plan_migration(database, tenant_id=tenant_id)
    facts = {
        "head": schema.head(),
        "behind": [
            {"revision": group.revision, "tenants": group.tenants, "sql": group.sql}
            for group in groups
        ],
        "ahead": ahead,
    }
    cli.print_result(facts, as_json=as_json, text="\n".join(_plan_lines(groups, ahead)))


def _plan_lines(groups: Sequence[RevisionGroup], ahead: Mapping[str, int]) -> list[str]:
    lines = [f"{sum(group.tenants for group in groups)} would be migrated to {schema.head()}."]
    for group in groups:
        lines += ["", f"-- {group.tenants} from {group.revision} to {schema.head()}", group.sql]
    lines += [f"{count} at {revision} are ahead of this code" for revision, count in ahead.items()]
    return lines
