"""What an operator types for the lifecycle of tenants; `commands` has it in its group."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from flask import current_app

from vca.kit import cli, clock, json
from vca.registry import owner
from vca.registry.tenants import doctor, lifecycle, purge
from vca.registry.tenants.doctor import Finding, Practice

_ID = click.argument("tenant_id", type=click.UUID, metavar="ID")
_FILE = click.Path(dir_okay=False, path_type=Path)
_YES = click.option("--yes", is_flag=True, help="Do not ask; required away from a terminal.")


@_ID
@click.argument("target", type=_FILE, metavar="FILE")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@cli.as_json
def export(tenant_id: UUID, target: Path, force: bool, as_json: bool) -> None:
    """Write a tenant, of any status, to one archive with checksums; it goes on meanwhile.

    FILE holds all of its contents: keep it as you keep the database.
    """
    with owner.bulk() as database, _progress() as told:
        manifest = lifecycle.export(
            database, tenant_id=tenant_id, target=target, now=clock.now(), force=force, told=told
        )
    rows = sum(member.rows for member in manifest.members)
    shown = {"file": str(target), "size_bytes": target.stat().st_size, **manifest.as_dict()}
    text = f"{target}: {rows} rows in {len(manifest.members)} tables"
    cli.emit(shown, as_json=as_json, text=text)


@click.argument("source", type=_FILE, metavar="FILE")
@click.option("--replace", "replacing", is_flag=True, help="Under its own id, over what is there.")
@_YES
@cli.as_json
def import_(source: Path, replacing: bool, yes: bool, as_json: bool) -> None:
    """Bring in an archive under a new id, or over the tenant itself; all of it or nothing.

    Numbers that nobody has are claimed, the others are named and their phone numbers deactivated.
    Keys are imported only where they do not exist yet. With --replace the tenant keeps its status
    and its keys, and its old schema is kept for seven days. Callers who were erased since the
    archive was made are erased again by a job; after a restore of the database run `flask privacy
    reapply`.
    """
    if replacing:
        _agreed(yes, "This replaces all that the tenant holds.")
    with owner.bulk() as database, _progress() as told:
        imported = lifecycle.adopt(
            database,
            source=source,
            replace=replacing,
            role_prefix=_role_prefix(),
            now=clock.now(),
            told=told,
        )
    shown = vars(imported)
    cli.emit(shown, as_json=as_json, text=cli.card({**shown, "rows": sum(imported.rows.values())}))


@_ID
@_YES
@cli.as_json
def purge_(tenant_id: UUID, yes: bool, as_json: bool) -> None:
    """Remove a deleted tenant for good; run it again if it was interrupted."""
    _agreed(yes, f"This removes all that tenant {tenant_id} ever was.")
    with owner.bulk() as database:
        removed = purge.purge(
            database, tenant_id=tenant_id, role_prefix=_role_prefix(), now=clock.now()
        )
    cli.emit(vars(removed), as_json=as_json, text=cli.card(vars(removed)))


@_ID
@click.option("--certificate", "target", type=_FILE, help="Write the certificate to this file.")
@_YES
@cli.as_json
def erase(tenant_id: UUID, target: Path | None, yes: bool, as_json: bool) -> None:
    """Delete and purge a tenant, and certify what was removed and what may remain elsewhere."""
    _agreed(yes, f"This removes all that tenant {tenant_id} ever was.")
    if target is not None:
        _reserve(target)
    try:
        with owner.bulk() as database:
            removed = purge.erase(
                database, tenant_id=tenant_id, role_prefix=_role_prefix(), now=clock.now()
            )
    except BaseException:
        if target is not None:
            target.unlink(missing_ok=True)
        raise
    certificate = purge.certificate(removed, now=clock.now())
    if target is not None:
        target.write_bytes(json.dumps(certificate) + b"\n")
    cli.emit(certificate, as_json=as_json, text=cli.card(certificate["removed"]))


@click.option("--repair", is_flag=True, help="Set right what is safe.")
@click.option("--yes", is_flag=True, help="With --repair: also drop empty schemas of nobody.")
@cli.as_json
def doctor_(repair: bool, yes: bool, as_json: bool) -> None:
    """Compare rows, schemas, roles and numbers; ends with status 1 while something is wrong."""
    with owner.bulk() as database:
        practice = Practice(database, clock.now(), _role_prefix(), drop_empty=yes)
        found = left = doctor.examine(practice)
        if repair and found:
            doctor.repair(practice, found)
            left = doctor.examine(replace(practice, now=clock.now()))
    repaired = [finding for finding in found if finding not in left]
    text = "\n".join([*_lines("repaired", repaired), *_lines("found", left)]) or "All is well."
    cli.emit({"findings": left, "repaired": repaired}, as_json=as_json, text=text)
    if left:
        raise SystemExit(1)


def _lines(word: str, findings: list[Finding]) -> list[str]:
    return [f"{word}: {finding.kind} {finding.subject} ({finding.detail})" for finding in findings]


def _role_prefix() -> str | None:
    prefix: str | None = current_app.extensions["settings"].role_prefix
    return prefix


def _agreed(yes: bool, warning: str) -> None:
    """A person is asked; a script must say --yes."""
    if yes:
        return
    if not _at_a_terminal():
        cli.fail(f"{warning} Give --yes to confirm.")
    click.confirm(f"{warning} Go on?", abort=True, err=True)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _reserve(target: Path) -> None:
    """Find out before anything is removed that the certificate can be written."""
    try:
        target.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        cli.fail(f"{target} cannot be written: {error.strerror}.")


class _progress:
    """What is being done, on a terminal; nothing elsewhere."""

    def __enter__(self) -> Callable[[str], Any]:
        return self._told if sys.stderr.isatty() else lambda _: None

    def __exit__(self, *_: object) -> None:
        if sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)

    def _told(self, text: str) -> None:
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def attach(group: cli.Group) -> None:
    """Add export, import, purge, erase and doctor to `flask tenants`."""
    typed: dict[str, Callable[..., None]] = {
        "export": export,
        "import": import_,
        "purge": purge_,
        "erase": erase,
        "doctor": doctor_,
    }
    for name, command in typed.items():
        group.command(name)(command)
