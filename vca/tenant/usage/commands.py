"""`flask usage`: plan versions, and corrections of the ledger."""

from typing import Any, TextIO
from uuid import UUID

import click

from vca import cli
from vca.kit import clock, json
from vca.registry.tenants import service as tenants
from vca.registry.usage import plans
from vca.registry.usage.schemas import PlanVersionSchema
from vca.services import current_services
from vca.tenancy import schema
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.usage import ledger

usage = cli.Group("usage", help="Manage plan versions and correct usage.")


@usage.command("plans")
@cli.as_json
def plans_(as_json: bool) -> None:
    """List all plan versions, newest first."""
    with public_session(database=current_services().database) as session:
        rows = [_plan_to_dict(row) for row in plans.list_versions(session)]
    cli.print_result(
        rows, as_json=as_json, text=cli.format_table(rows, ("plan", "version", "valid_from"))
    )


@usage.command("plan-version", short_help="Add a plan version from a JSON file.")
@click.argument("file", type=click.File(encoding="utf-8"))
@cli.as_json
def plan_version(file: TextIO, as_json: bool) -> None:
    """Add a plan version from a JSON file.

    The file has the format of `flask usage plans --json`. Facts that were rated before keep their
    price. Omit `version`: it is the next number.
    """
    try:
        document = json.strict_loads(file.read().encode())
    except json.InvalidJson as error:
        cli.fail(str(error))
    fields = cli.load_or_fail(PlanVersionSchema(), document if isinstance(document, dict) else {})
    with public_session(database=current_services().database) as session:
        plan = _plan_to_dict(plans.add_version(session, now=clock.now(), **fields))
    cli.print_result(
        plan, as_json=as_json, text=f"Plan {plan['plan']} version {plan['version']} was added."
    )


@usage.command("reverse")
@click.argument("tenant_id", type=click.UUID, metavar="TENANT_ID")
@click.argument("fact_id", type=click.UUID, metavar="FACT_ID")
@cli.as_json
def reverse(tenant_id: UUID, fact_id: UUID, as_json: bool) -> None:
    """Reverse a usage fact of a tenant.

    Adds a fact with the negative values. A fact can be reversed once.
    """
    with public_session(database=current_services().database) as session:
        tenant = tenants.get(session, tenant_id=tenant_id)
    schema.require_supported_revision(tenant.schema_revision)
    with tenant_session(
        tenants.tenant_ref(tenant), database=current_services().database
    ) as session:
        reversal_id = ledger.reverse(session, fact_id=fact_id)
    summary = {"tenant_id": tenant_id, "fact_id": fact_id, "reversal_id": reversal_id}
    cli.print_result(summary, as_json=as_json, text=cli.format_record(summary))


def _plan_to_dict(row: Any) -> dict[str, Any]:
    columns = {"plan": row.plan, "version": row.version, "valid_from": row.valid_from}
    return {**columns, **row.document}
