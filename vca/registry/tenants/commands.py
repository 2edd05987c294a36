"""`flask tenants`: the operator's list of tenants."""

from collections import Counter
from uuid import UUID

import click

from vca.kit import cli
from vca.registry.tenants import fleet, service, terminal
from vca.registry.tenants.migrate_command import migrate
from vca.registry.tenants.models import PLANS, STATUSES, Tenant
from vca.registry.tenants.schemas import TenantSchema
from vca.tenancy import schema
from vca.tenancy.session import public

tenants = cli.Group("tenants", help="Create, list and change tenants; migrate their schemas.")
terminal.attach(tenants)

_ID = click.argument("tenant_id", type=click.UUID, metavar="ID")


@tenants.command("create")
@click.option("--name", required=True, help="For people; need not be unique.")
@click.option("--plan", type=click.Choice(PLANS), default="starter", show_default=True)
@click.option("--external-id", help="Your own id for it; unique.")
@cli.as_json
def create(name: str, plan: str, external_id: str | None, as_json: bool) -> None:
    """Create a tenant with its schema."""
    given = {"name": name, "plan": plan, "external_id": external_id}
    fields = cli.loaded(TenantSchema(), given)
    with public() as session:
        _show(service.create(session, **fields), as_json)


@tenants.command("list")
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--plan", type=click.Choice(PLANS))
@cli.as_json
def list_(as_json: bool, **filters: str | None) -> None:
    """List tenants, oldest first."""
    wanted = {name: value for name, value in filters.items() if value}
    with public() as session:
        found = cli.pages(lambda page: service.list_page(session, page=page, **wanted))
        rows = TenantSchema().dump(found, many=True)
    text = cli.table(rows, ("id", "name", "plan", "status", "created_at"))
    cli.emit(rows, as_json=as_json, text=text)


@tenants.command("show")
@_ID
@cli.as_json
def show(tenant_id: UUID, as_json: bool) -> None:
    """Show a tenant."""
    with public() as session:
        _show(service.get(session, tenant_id=tenant_id), as_json)


@tenants.command("suspend")
@_ID
@cli.as_json
def suspend(tenant_id: UUID, as_json: bool) -> None:
    """Suspend a tenant: its keys read only, its callers hear a polite sentence."""
    _change(tenant_id, "suspended", as_json)


@tenants.command("activate")
@_ID
@cli.as_json
def activate(tenant_id: UUID, as_json: bool) -> None:
    """Activate a suspended tenant, or restore a deleted one."""
    _change(tenant_id, "active", as_json)


@tenants.command("delete")
@_ID
@cli.as_json
def delete(tenant_id: UUID, as_json: bool) -> None:
    """Delete a tenant: its numbers rest, nothing of it can be reached; `activate` restores it."""
    _change(tenant_id, "deleted", as_json)


@tenants.command("status")
@cli.as_json
def status(as_json: bool) -> None:
    """Show how many tenants are at which revision of the tenant schema."""
    with public() as session:
        by_revision: Counter[str] = Counter(fleet.revisions(session))
    head = schema.head()
    at_head = by_revision.pop(head, 0)
    facts = {"head": head, "at_head": at_head, "behind": dict(by_revision)}
    lines = [f"{count} at {revision}" for revision, count in sorted(by_revision.items())]
    text = "\n".join([f"{at_head} at {head}, the head", *lines])
    cli.emit(facts, as_json=as_json, text=text)


tenants.command("migrate")(migrate)


def _change(tenant_id: UUID, status: str, as_json: bool) -> None:
    with public() as session:
        _show(service.update(session, tenant_id=tenant_id, status=status), as_json)


def _show(tenant: Tenant, as_json: bool) -> None:
    shown = TenantSchema().dump(tenant)
    cli.emit(shown, as_json=as_json, text=cli.card(shown))
