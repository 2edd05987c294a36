"""`flask telephony`: check and register numbers at carriers, and write fallback documents."""

from pathlib import Path
from typing import Any
from uuid import UUID

import click

from vca import cli
from vca.registry.number_registry import claimed_numbers
from vca.services import current_services
from vca.tenancy.session import public_session
from vca.tenant.calls.carrier_webhooks import fallback
from vca.tenant.phone_numbers import bulk_check

telephony = cli.Group("telephony", help="Check and register numbers at carriers.")

_COLUMNS = ("did_number", "tenant_id", "provider_type", "found")


@telephony.command("check", short_help="Compare numbers with their carriers.")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Only this tenant's numbers.")
@cli.as_json
def check(tenant_id: UUID | None, as_json: bool) -> None:
    """Compare the settings of all registered numbers with their carriers. Changes nothing.

    Also prints the number ranges that DIALLABLE_PREFIXES adds, and what keeps browsers from calling
    through an account of the deployment.

    Exit status 1 if any number differs from its registration, if a number could not be checked, or
    if browsers cannot call although the settings allow it.
    """
    with public_session(database=current_services().database) as session:
        numbers = claimed_numbers.list_registered(session, tenant_id=tenant_id)
    inspections = bulk_check.check_numbers(numbers, services=current_services())
    rows = [{**vars(inspection.number), "found": inspection.detail} for inspection in inspections]
    mismatches = [
        row for row, inspection in zip(rows, inspections, strict=True) if not inspection.agrees
    ]
    output: dict[str, Any] = {"checked": len(rows), "wrong": mismatches}
    text = f"{len(rows)} numbers checked, {len(mismatches)} differ from their registration."
    if ranges := current_services().settings.diallable_prefixes:
        output["diallable_prefixes"] = [str(added) for added in ranges]
        text += f"\nDIALLABLE_PREFIXES adds {', '.join(output['diallable_prefixes'])}."
    if browser_problems := bulk_check.check_browser_accounts(services=current_services()):
        output["browsers"] = browser_problems
        text += "\nBrowsers cannot call: " + "; ".join(browser_problems) + "."
    cli.print_result(
        output,
        as_json=as_json,
        text=f"{text}\n{cli.format_table(mismatches, _COLUMNS)}" if mismatches else text,
    )
    if mismatches or browser_problems:
        raise SystemExit(1)


@telephony.command("reregister", short_help="Register active numbers again.")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Only this tenant's numbers.")
@click.option("--all", "everybody", is_flag=True, help="The numbers of all tenants.")
@cli.as_json
def reregister(tenant_id: UUID | None, everybody: bool, as_json: bool) -> None:
    """Register all active numbers again, for example after PUBLIC_BASE_URL has changed."""
    if everybody is (tenant_id is not None):
        raise click.UsageError("Specify --tenant ID or --all.")
    registration_count = claimed_numbers.enqueue_reregistration(
        tenant_id=tenant_id, services=current_services()
    )
    cli.print_result(
        {"ordered": registration_count},
        as_json=as_json,
        text=f"{registration_count} registrations enqueued.",
    )


@telephony.command("render-fallbacks", short_help="Write documents for carriers' fallbacks.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@cli.as_json
def render_fallbacks(folder: Path, as_json: bool) -> None:
    """Write the documents that CARRIER_FALLBACK_URL serves, one per number in its carrier's format.

    Each `FOLDER/<carrier>/<number without +>.xml` (or `.json`) forwards to the number's
    `fallback_number`, or says the tenant's sentence. Documents of other numbers in FOLDER are
    deleted. Copy the files to a server outside VCA, and again whenever numbers change.
    """
    document_count = fallback.write_fallback_documents(folder, services=current_services())
    output: dict[str, Any] = {"written": document_count, "folder": str(folder)}
    fallback_url = current_services().settings.carrier_fallback_url
    hint = (
        f"Serve them at {fallback_url}."
        if fallback_url
        else "CARRIER_FALLBACK_URL is empty, so no carrier requests them."
    )
    cli.print_result(
        output, as_json=as_json, text=f"{document_count} documents written to {folder}. {hint}"
    )
