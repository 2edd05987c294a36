"""`flask tenants` commands for the lifecycle of tenants; `commands` adds them to its group."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from vca import cli
from vca.kit import clock, json
from vca.registry import owner_connections
from vca.registry.tenants import consistency_check, purge, transfer
from vca.registry.tenants.consistency_check import CheckContext
from vca.services import current_services
from vca.services.lifecycle_hooks import Inconsistency

_ID_ARGUMENT = click.argument("tenant_id", type=click.UUID, metavar="ID")
_FILE_PATH = click.Path(dir_okay=False, path_type=Path)
_YES_OPTION = click.option(
    "--yes", is_flag=True, help="Skip the confirmation; required in scripts."
)


@_ID_ARGUMENT
@click.argument("target", type=_FILE_PATH, metavar="FILE")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@cli.as_json
def export(tenant_id: UUID, target: Path, force: bool, as_json: bool) -> None:
    """Export a tenant to an archive.

    The tenant may have any status, and is not interrupted. FILE has checksums and contains all of
    the tenant's data: protect it as you protect the database.
    """
    with owner_connections.owner_bulk() as database, _ProgressLine() as on_progress:
        manifest = transfer.export_tenant(
            database,
            tenant_id=tenant_id,
            target=target,
            now=clock.now(),
            force=force,
            on_progress=on_progress,
        )
    rows = sum(member.rows for member in manifest.members)
    facts = {"file": str(target), "size_bytes": target.stat().st_size, **manifest.as_dict()}
    text = f"{target}: {rows} rows in {len(manifest.members)} tables"
    cli.print_result(facts, as_json=as_json, text=text)


@click.argument("source", type=_FILE_PATH, metavar="FILE")
@click.option(
    "--replace", "replacing", is_flag=True, help="Replace the tenant with the archived id."
)
@_YES_OPTION
@cli.as_json
def import_(source: Path, replacing: bool, yes: bool, as_json: bool) -> None:
    """Import a tenant from an archive.

    The import is complete or does not happen. The tenant gets a new id unless you use --replace.

    Numbers that no tenant has are claimed. The others are listed, and their phone numbers
    deactivated. API keys are imported only if they do not exist yet. With --replace, the tenant
    keeps its status and API keys, and its old schema is kept for seven days. A job erases callers
    again who were erased after the archive was made. After a restore of the database, run `flask
    privacy reapply` as well.
    """
    if replacing:
        _require_confirmation(yes, "This replaces all data of the tenant.")
    with owner_connections.owner_bulk() as database, _ProgressLine() as on_progress:
        result = transfer.import_tenant(
            database,
            source=source,
            replace=replacing,
            role_prefix=_role_prefix(),
            now=clock.now(),
            on_progress=on_progress,
            services=current_services(),
        )
    facts = result.facts()
    cli.print_result(
        facts, as_json=as_json, text=cli.format_record({**facts, "rows": sum(result.rows.values())})
    )


@_ID_ARGUMENT
@_YES_OPTION
@cli.as_json
def purge_(tenant_id: UUID, yes: bool, as_json: bool) -> None:
    """Purge a deleted tenant permanently.

    Run the command again if it was interrupted.
    """
    _require_confirmation(yes, f"This permanently deletes all data of tenant {tenant_id}.")
    with owner_connections.owner_bulk() as database:
        result = purge.purge_tenant(
            database,
            tenant_id=tenant_id,
            role_prefix=_role_prefix(),
            now=clock.now(),
            services=current_services(),
        )
    cli.print_result(vars(result), as_json=as_json, text=cli.format_record(vars(result)))


@_ID_ARGUMENT
@click.option(
    "--certificate", "target", type=_FILE_PATH, help="Write the certificate to this file."
)
@_YES_OPTION
@cli.as_json
def erase(tenant_id: UUID, target: Path | None, yes: bool, as_json: bool) -> None:
    """Erase a tenant and certify the erasure.

    The tenant is deleted and purged. The certificate lists what was removed and what may remain
    elsewhere.
    """
    _require_confirmation(yes, f"This permanently deletes all data of tenant {tenant_id}.")
    if target is not None:
        _reserve_file(target)
    try:
        with owner_connections.owner_bulk() as database:
            result = purge.erase_tenant(
                database,
                tenant_id=tenant_id,
                role_prefix=_role_prefix(),
                now=clock.now(),
                services=current_services(),
            )
    except BaseException:
        if target is not None:
            target.unlink(missing_ok=True)
        raise
    certificate = purge.erasure_certificate(result, now=clock.now())
    if target is not None:
        target.write_bytes(json.dumps(certificate) + b"\n")
    cli.print_result(certificate, as_json=as_json, text=cli.format_record(certificate["removed"]))


@click.option("--repair", is_flag=True, help="Repair what can be repaired safely.")
@click.option("--yes", is_flag=True, help="With --repair: also drop empty schemas without tenant.")
@cli.as_json
def doctor_(repair: bool, yes: bool, as_json: bool) -> None:
    """Check tenants for inconsistencies.

    Compares tenants with their schemas, database roles and numbers. The exit status is 1 if
    inconsistencies remain.
    """
    with owner_connections.owner_bulk() as database:
        context = CheckContext(
            database, clock.now(), _role_prefix(), current_services(), drop_empty=yes
        )
        findings = remaining = consistency_check.find_inconsistencies(context)
        if repair and findings:
            consistency_check.repair(context, findings)
            remaining = consistency_check.find_inconsistencies(replace(context, now=clock.now()))
    repaired = [finding for finding in findings if finding not in remaining]
    text = (
        "\n".join([*_finding_lines("repaired", repaired), *_finding_lines("found", remaining)])
        or "No inconsistencies found."
    )
    cli.print_result({"findings": remaining, "repaired": repaired}, as_json=as_json, text=text)
    if remaining:
        raise SystemExit(1)


def _finding_lines(label: str, findings: list[Inconsistency]) -> list[str]:
    return [f"{label}: {finding.kind} {finding.subject} ({finding.detail})" for finding in findings]


def _role_prefix() -> str | None:
    prefix: str | None = current_services().settings.role_prefix
    return prefix


def _require_confirmation(yes: bool, warning: str) -> None:
    """Ask for confirmation on a terminal; scripts must pass --yes."""
    if yes:
        return
    if not _is_interactive():
        cli.fail(f"{warning} Use --yes to confirm.")
    click.confirm(f"{warning} Continue?", abort=True, err=True)


def _is_interactive() -> bool:
    return sys.stdin.isatty()


def _reserve_file(target: Path) -> None:
    """Create the file for the certificate, to fail before anything is removed."""
    try:
        target.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        cli.fail(f"{target} cannot be written: {error.strerror}.")


class _ProgressLine:
    """Show the current step on a terminal, and nothing elsewhere."""

    def __enter__(self) -> Callable[[str], Any]:
        return self._show if sys.stderr.isatty() else lambda _: None

    def __exit__(self, *_: object) -> None:
        if sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)

    def _show(self, text: str) -> None:
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def attach_commands(group: cli.Group) -> None:
    """Add export, import, purge, erase and doctor to `flask tenants`."""
    commands: dict[str, Callable[..., None]] = {
        "export": export,
        "import": import_,
        "purge": purge_,
        "erase": erase,
        "doctor": doctor_,
    }
    for name, command in commands.items():
        group.command(name)(command)
