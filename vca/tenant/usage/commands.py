"""`flask usage`: versions of plans, and corrections of the ledger."""

from typing import Any, TextIO
from uuid import UUID

import click

from vca.kit import cli, clock, json
from vca.registry.tenants import service as tenants
from vca.registry.usage import plans
from vca.registry.usage.schemas import PlanVersionSchema
from vca.tenancy import schema
from vca.tenancy.session import enter, public
from vca.tenant.usage import ledger

usage = cli.Group("usage", help="What plans hold and cost; corrections of what was counted.")


@usage.command("plans")
@cli.as_json
def plans_(as_json: bool) -> None:
    """List the versions of all plans, the newest first."""
    with public() as session:
        rows = [_shown(row) for row in plans.versions(session)]
    cli.emit(rows, as_json=as_json, text=cli.table(rows, ("plan", "version", "valid_from")))


@usage.command("plan-version")
@click.argument("file", type=click.File(encoding="utf-8"))
@cli.as_json
def plan_version(file: TextIO, as_json: bool) -> None:
    """Add a version of a plan from a JSON file, as `flask usage plans --json` lists them.

    What was rated before stays as it is. Without `version`, which is the next one.
    """
    try:
        given = json.strict_loads(file.read().encode())
    except json.BadJson as error:
        cli.fail(str(error))
    fields = cli.loaded(PlanVersionSchema(), given if isinstance(given, dict) else {})
    with public() as session:
        shown = _shown(plans.add(session, now=clock.now(), **fields))
    cli.emit(shown, as_json=as_json, text=f"{shown['plan']} {shown['version']} is there.")


@usage.command("reverse")
@click.argument("tenant_id", type=click.UUID, metavar="TENANT_ID")
@click.argument("fact_id", type=click.UUID, metavar="FACT_ID")
@cli.as_json
def reverse(tenant_id: UUID, fact_id: UUID, as_json: bool) -> None:
    """Take back a fact of a tenant's ledger, by its negative, once."""
    with public() as session:
        tenant = tenants.get(session, tenant_id=tenant_id)
    schema.require_supported(tenant.schema_revision)
    with enter(tenants.ref(tenant)) as session:
        reversal_id = ledger.reverse(session, fact_id=fact_id)
    shown = {"tenant_id": tenant_id, "fact_id": fact_id, "reversal_id": reversal_id}
    cli.emit(shown, as_json=as_json, text=cli.card(shown))


def _shown(row: Any) -> dict[str, Any]:
    kept = {"plan": row.plan, "version": row.version, "valid_from": row.valid_from}
    return {**kept, **row.document}
