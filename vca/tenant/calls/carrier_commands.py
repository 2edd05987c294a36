"""`flask telephony`: what carriers hold of the numbers, and what they do when VCA is away."""

from pathlib import Path
from typing import Any
from uuid import UUID

import click
from flask import current_app

from vca.kit import cli
from vca.registry.dids import fleet
from vca.tenancy.session import public
from vca.tenant.calls import fallback_documents
from vca.tenant.phone_numbers import inspecting

telephony = cli.Group("telephony", help="Numbers at their carriers, over all tenants.")

_COLUMNS = ("did_number", "tenant_id", "provider_type", "found")


@telephony.command("check")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Only this tenant's numbers.")
@cli.as_json
def check(tenant_id: UUID | None, as_json: bool) -> None:
    """Ask the carriers what they hold of every registered number; nothing is changed.

    Exit status 1 if any does not hold what was registered, or could not be asked.
    """
    with public() as session:
        numbers = fleet.registered(session, tenant_id=tenant_id)
    found = inspecting.inspect(numbers)
    rows = [{**vars(each.number), "found": each.found} for each in found]
    wrong = [row for row, each in zip(rows, found, strict=True) if not each.agrees]
    told = {"checked": len(rows), "wrong": wrong}
    text = f"{len(rows)} numbers checked, {len(wrong)} are not as registered."
    cli.emit(told, as_json=as_json, text=f"{text}\n{cli.table(wrong, _COLUMNS)}" if wrong else text)
    if wrong:
        raise SystemExit(1)


@telephony.command("reregister")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Only this tenant's numbers.")
@click.option("--all", "everybody", is_flag=True, help="The numbers of all tenants.")
@cli.as_json
def reregister(tenant_id: UUID | None, everybody: bool, as_json: bool) -> None:
    """Order the registration of every active number anew: after a change of PUBLIC_BASE_URL."""
    if everybody is (tenant_id is not None):
        raise click.UsageError("Name --tenant ID, or --all.")
    ordered = fleet.reregister(tenant_id=tenant_id)
    cli.emit({"ordered": ordered}, as_json=as_json, text=f"{ordered} registrations are ordered.")


@telephony.command("render-fallbacks")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@cli.as_json
def render_fallbacks(folder: Path, as_json: bool) -> None:
    """Write what CARRIER_FALLBACK_URL serves: a document for each number, in its carrier's words.

    `FOLDER/<carrier>/<number without +>.xml`, or what its carrier reads: a forward to the number's
    `fallback_number`, else the tenant's sentence. Copy them to a server outside of VCA, and again
    when numbers have changed.
    """
    with public() as session:
        numbers = fleet.claimed(session)
    written = fallback_documents.write(numbers, folder)
    told: dict[str, Any] = {"written": written, "folder": str(folder)}
    where = current_app.extensions["settings"].carrier_fallback_url
    hint = f"Serve them at {where}." if where else "CARRIER_FALLBACK_URL is empty: no carrier asks."
    cli.emit(told, as_json=as_json, text=f"{written} documents are in {folder}. {hint}")
