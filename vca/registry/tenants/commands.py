"""`flask tenants`: the platform's commands for tenants."""

from collections import Counter
from uuid import UUID

import click

from vca import cli
from vca.registry.tenants import lifecycle_commands, revision_store, service
from vca.registry.tenants.migrate_command import migrate
from vca.registry.tenants.models import PLANS, STATUSES, Tenant
from vca.registry.tenants.schemas import TenantSchema
from vca.services import Services, current_services
from vca.tenancy import schema
from vca.tenancy.session import public_session

tenants = cli.Group("tenants", help="Manage tenants and migrate their schemas.")
lifecycle_commands.attach_commands(tenants)

_ID = click.argument("tenant_id", type=click.UUID, metavar="ID")


@tenants.command("create")
@click.option("--name", required=True, help="Display name; need not be unique.")
@click.option("--plan", type=click.Choice(PLANS), default="starter", show_default=True)
@click.option("--external-id", help="Your own id for the tenant; unique.")
@cli.as_json
def create(name: str, plan: str, external_id: str | None, as_json: bool) -> None:
    """Create a tenant and its schema."""
    arguments = {"name": name, "plan": plan, "external_id": external_id}
    fields = cli.load_or_fail(TenantSchema(), arguments)
    with public_session(database=current_services().database) as session:
        _print_tenant(service.create(session, **fields), as_json)


@tenants.command("list")
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--plan", type=click.Choice(PLANS))
@cli.as_json
def list_(as_json: bool, **filters: str | None) -> None:
    """List tenants, oldest first."""
    active_filters = {name: value for name, value in filters.items() if value}
    with public_session(database=current_services().database) as session:
        tenant_rows = cli.iterate_items(
            lambda page: service.list_page(session, page=page, **active_filters)
        )
        rows = TenantSchema().dump(tenant_rows, many=True)
    text = cli.format_table(rows, ("id", "name", "plan", "status", "created_at"))
    cli.print_result(rows, as_json=as_json, text=text)


@tenants.command("show")
@_ID
@cli.as_json
def show(tenant_id: UUID, as_json: bool) -> None:
    """Show a tenant."""
    with public_session(database=current_services().database) as session:
        _print_tenant(service.get(session, tenant_id=tenant_id), as_json)


@tenants.command("suspend")
@_ID
@cli.as_json
def suspend(tenant_id: UUID, as_json: bool) -> None:
    """Suspend a tenant.

    Its API keys can only read, and its callers hear a polite message.
    """
    _set_status(tenant_id, "suspended", as_json, services=current_services())


@tenants.command("activate")
@_ID
@cli.as_json
def activate(tenant_id: UUID, as_json: bool) -> None:
    """Activate a suspended or deleted tenant.

    A deleted tenant can be restored until it is purged. It gets back the numbers that are still
    quarantined for it.
    """
    _set_status(tenant_id, "active", as_json, services=current_services())


@tenants.command("delete")
@_ID
@cli.as_json
def delete(tenant_id: UUID, as_json: bool) -> None:
    """Delete a tenant.

    Its numbers are quarantined, and its data cannot be reached. Use `activate` to restore it.
    """
    _set_status(tenant_id, "deleted", as_json, services=current_services())


@tenants.command("status")
@cli.as_json
def status(as_json: bool) -> None:
    """Show how many tenants are at each revision."""
    with public_session(database=current_services().database) as session:
        by_revision: Counter[str] = Counter(revision_store.list_revisions(session))
    head = schema.head()
    at_head = by_revision.pop(head, 0)
    facts = {"head": head, "at_head": at_head, "behind": dict(by_revision)}
    lines = [f"{count} at {revision}" for revision, count in sorted(by_revision.items())]
    text = "\n".join([f"{at_head} at {head}, the head", *lines])
    cli.print_result(facts, as_json=as_json, text=text)


tenants.command("migrate")(migrate)


def _set_status(tenant_id: UUID, status: str, as_json: bool, *, services: Services) -> None:
    with public_session(database=services.database) as session:
        _print_tenant(
            service.update(session, tenant_id=tenant_id, status=status, services=services), as_json
        )


def _print_tenant(tenant: Tenant, as_json: bool) -> None:
    document = TenantSchema().dump(tenant)
    cli.print_result(document, as_json=as_json, text=cli.format_record(document))
