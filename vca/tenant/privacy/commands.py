"""`flask privacy`: what an operator does after a restore."""

from collections.abc import Sequence
from uuid import UUID

import click
from sqlalchemy import select

from vca.kit import cli
from vca.kit.errors import Unavailable
from vca.kit.storage import StorageError
from vca.registry.tenants import service as tenants
from vca.registry.tenants.models import Tenant
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public
from vca.tenant.privacy import reapplying

privacy = cli.Group("privacy", help="Erase again what a restored copy has brought back.")


class LedgerAway(Unavailable):
    """The store that holds the ledger of erasures did not do what it was asked."""

    code = "ledger-away"


@privacy.command("reapply")
@click.option("--tenant", "tenant_id", type=click.UUID, help="Only this tenant.")
@cli.as_json
def reapply(tenant_id: UUID | None, as_json: bool) -> None:
    """Go through the ledger of erasures, and erase again what the database holds of them.

    Run it after every restore of the database, before the numbers route to it again.
    """
    again: dict[str, list[UUID]] = {}
    behind: list[UUID] = []
    for row in _tenants(tenant_id):
        if schema.supports(row.schema_revision):
            again[str(row.id)] = _reapplied(tenants.ref(row))
        else:
            behind.append(row.id)
    found = {id: erased for id, erased in again.items() if erased}
    count = sum(len(erased) for erased in found.values())
    lines = [f"{count} erasures done again, at {len(found)} of {len(again)} tenants."]
    lines += [f"{id} was left out: migrate it first, or finish its purge." for id in behind]
    told = {"tenants": len(again), "erased_again": found, "left_out": behind}
    cli.emit(told, as_json=as_json, text="\n".join(lines))
    if behind:
        raise SystemExit(1)


def _reapplied(tenant: TenantRef) -> list[UUID]:
    try:
        return reapplying.reapply(tenant)
    except StorageError as error:
        raise LedgerAway("The store that holds the ledger of erasures is away.") from error


def _tenants(only: UUID | None) -> Sequence[Tenant]:
    """All of them, deleted ones too, or the one that is named."""
    with public() as session:
        if only is not None:
            return [tenants.get(session, tenant_id=only)]
        return session.scalars(select(Tenant).order_by(Tenant.created_at, Tenant.id)).all()
