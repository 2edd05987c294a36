"""`flask usage`: versions of plans, and corrections of the ledger."""

from typing import Any, TextIO
from uuid import UUID

import click

from vca import cli
from vca.kit import clock, json
from vca.registry.tenants import service as tenants
from vca.registry.usage import plans
from vca.registry.usage.schemas import PlanVersionSchema
from vca.tenancy import schema
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.usage import ledger

usage = cli.Group("usage", help="What plans hold and cost; corrections of what was counted.")


@usage.command("plans")
@cli.as_json
def plans_(as_json: bool) -> None:
    """List the versions of all plans, the newest first."""
    with public_session() as session:
        rows = [_plan_to_dict(row) for row in plans.list_versions(session)]
    cli.print_result(
        rows, as_json=as_json, text=cli.format_table(rows, ("plan", "version", "valid_from"))
    )


@usage.command("plan-version")
@click.argument("file", type=click.File(encoding="utf-8"))
@cli.as_json
def plan_version(file: TextIO, as_json: bool) -> None:
    """Add a version of a plan from a JSON file, as `flask usage plans --json` lists them.

    What was rated before stays as it is. Without `version`, which is the next one.
    """
    try:
        document = json.strict_loads(file.read().encode())
    except json.InvalidJson as error:
        cli.fail(str(error))
    fields = cli.load_or_fail(PlanVersionSchema(), document if isinstance(document, dict) else {})
    with public_session() as session:
        plan = _plan_to_dict(plans.add_version(session, now=clock.now(), **fields))
    cli.print_result(plan, as_json=as_json, text=f"{plan['plan']} {plan['version']} is there.")


@usage.command("reverse")
@click.argument("tenant_id", type=click.UUID, metavar="TENANT_ID")
@click.argument("fact_id", type=click.UUID, metavar="FACT_ID")
@cli.as_json
def reverse(tenant_id: UUID, fact_id: UUID, as_json: bool) -> None:
    """Take back a fact of a tenant's ledger, by its negative, once."""
    with public_session() as session:
        tenant = tenants.get(session, tenant_id=tenant_id)
    schema.require_supported_revision(tenant.schema_revision)
    with tenant_session(tenants.tenant_ref(tenant)) as session:
        reversal_id = ledger.reverse(session, fact_id=fact_id)
    summary = {"tenant_id": tenant_id, "fact_id": fact_id, "reversal_id": reversal_id}
    cli.print_result(summary, as_json=as_json, text=cli.format_record(summary))


def _plan_to_dict(row: Any) -> dict[str, Any]:
    columns = {"plan": row.plan, "version": row.version, "valid_from": row.valid_from}
    return {**columns, **row.document}
