"""`flask dialling`: stop what is dialled, for one tenant or for all."""

from uuid import UUID

import click

from vca.kit import cli, clock
from vca.registry import deployment
from vca.registry.tenants import service as tenants
from vca.tenancy import schema
from vca.tenancy.session import enter, public
from vca.tenant.settings import service

dialling = cli.Group("dialling", help="Freeze and resume what tenants have dialled.")

_TENANT = click.option("--tenant", "tenant_id", type=click.UUID, help="Only this tenant.")


@dialling.command("freeze")
@_TENANT
@cli.as_json
def freeze(tenant_id: UUID | None, as_json: bool) -> None:
    """Refuse every outbound call, transfer and forward from now on. Calls that are up go on."""
    _set(tenant_id, frozen=True, as_json=as_json)


@dialling.command("resume")
@_TENANT
@cli.as_json
def resume(tenant_id: UUID | None, as_json: bool) -> None:
    """Allow dialling again. A tenant's own freeze is ended by naming the tenant."""
    _set(tenant_id, frozen=False, as_json=as_json)


def _set(tenant_id: UUID | None, *, frozen: bool, as_json: bool) -> None:
    if tenant_id is None:
        with public() as session:
            deployment.freeze_dialling(session, frozen=frozen)
    else:
        _set_tenants(tenant_id, frozen=frozen)
    whose = "all tenants" if tenant_id is None else f"tenant {tenant_id}"
    text = f"Dialling is {'frozen' if frozen else 'resumed'} for {whose}."
    cli.emit({"tenant_id": tenant_id, "frozen": frozen}, as_json=as_json, text=text)


def _set_tenants(tenant_id: UUID, *, frozen: bool) -> None:
    with public() as session:
        tenant = tenants.get(session, tenant_id=tenant_id)
    schema.require_supported(tenant.schema_revision)
    with enter(tenants.ref(tenant)) as session:
        service.freeze_dialling(session, at=clock.now() if frozen else None)
