"""`flask privacy`: repeat erasures after a restore of the database."""

from collections.abc import Sequence
from uuid import UUID

import click
from sqlalchemy import select

from vca import cli
from vca.kit.errors import Unavailable
from vca.kit.storage import StorageError
from vca.registry.tenants import service as tenants
from vca.registry.tenants.models import Tenant
from vca.services import Services, current_services
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session
from vca.tenant.privacy import re_erasure

privacy = cli.Group("privacy", help="Repeat erasures after a restore.")


class LedgerUnavailable(Unavailable):
    """The storage of the erasure ledger cannot be reached."""

    code = "ledger-away"


@privacy.command("reapply", short_help="Repeat erasures after a restore.")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Only this tenant.")
@cli.as_json
def reapply(tenant_id: UUID | None, as_json: bool) -> None:
    """Repeat the erasures that a restored database has undone.

    Compares the erasure ledger with the database and erases what has come back. Run this after
    every restore of the database, before calls are routed to it again.
    """
    erased_by_tenant: dict[str, list[UUID]] = {}
    skipped: list[UUID] = []
    for row in _tenants(tenant_id, services=current_services()):
        if schema.is_supported_revision(row.schema_revision):
            erased_by_tenant[str(row.id)] = _reapply_to_tenant(
                tenants.tenant_ref(row), services=current_services()
            )
        else:
            skipped.append(row.id)
    affected = {id: request_ids for id, request_ids in erased_by_tenant.items() if request_ids}
    count = sum(len(request_ids) for request_ids in affected.values())
    lines = [f"{count} erasures repeated, in {len(affected)} of {len(erased_by_tenant)} tenants."]
    lines += [f"{id} was skipped: migrate it first, or finish its purge." for id in skipped]
    summary = {"tenants": len(erased_by_tenant), "erased_again": affected, "left_out": skipped}
    cli.print_result(summary, as_json=as_json, text="\n".join(lines))
    if skipped:
        raise SystemExit(1)


def _reapply_to_tenant(tenant: TenantRef, *, services: Services) -> list[UUID]:
    try:
        return re_erasure.reapply_erasures(tenant, services=services)
    except StorageError as error:
        raise LedgerUnavailable("The storage of the erasure ledger cannot be reached.") from error


def _tenants(tenant_id: UUID | None, *, services: Services) -> Sequence[Tenant]:
    """Return all tenants, deleted ones too, or only the given one."""
    with public_session(database=services.database) as session:
        if tenant_id is not None:
            return [tenants.get(session, tenant_id=tenant_id)]
        return session.scalars(select(Tenant).order_by(Tenant.created_at, Tenant.id)).all()
