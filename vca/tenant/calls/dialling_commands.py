"""`flask dialling`: stop outbound dialling for one tenant or for all."""

from typing import Any
from uuid import UUID

import click

from vca import cli
from vca.kit import clock
from vca.registry import deployment
from vca.registry.tenants import service as tenants
from vca.services import Services, current_services
from vca.tenancy import schema
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.calls.carrier_webhooks import fallback
from vca.tenant.settings import service

dialling = cli.Group("dialling", help="Freeze and resume outbound dialling.")

_TENANT = click.option("--tenant", "tenant_id", type=click.UUID, help="Only this tenant.")


@dialling.command("freeze", short_help="Reject all outbound legs.")
@_TENANT
@cli.as_json
def freeze(tenant_id: UUID | None, as_json: bool) -> None:
    """Reject every outbound call, transfer, forward and browser credential from now on.

    Calls that are ordered but not dialled yet are rejected too. Parties that are connected stay
    connected. The documents in CARRIER_FALLBACK_FOLDER no longer forward callers; without that
    setting, run `flask telephony render-fallbacks` and copy the files again.
    """
    _set_frozen(tenant_id, frozen=True, as_json=as_json, services=current_services())


@dialling.command("resume", short_help="Allow outbound dialling again.")
@_TENANT
@cli.as_json
def resume(tenant_id: UUID | None, as_json: bool) -> None:
    """Allow outbound dialling again.

    A freeze of a single tenant is ended with `--tenant` only.
    """
    _set_frozen(tenant_id, frozen=False, as_json=as_json, services=current_services())


def _set_frozen(tenant_id: UUID | None, *, services: Services, frozen: bool, as_json: bool) -> None:
    if tenant_id is None:
        with public_session(database=services.database) as session:
            deployment.freeze_dialling(session, frozen=frozen)
    else:
        _set_tenant_frozen(tenant_id, frozen=frozen, services=services)
    scope_text = "all tenants" if tenant_id is None else f"tenant {tenant_id}"
    document_count = fallback.update_fallback_documents(tenant_id, services=services)
    output: dict[str, Any] = {"tenant_id": tenant_id, "frozen": frozen}
    text = f"Dialling is {'frozen' if frozen else 'resumed'} for {scope_text}."
    if document_count is not None:
        output["fallback_documents"] = document_count
        text += f" {document_count} fallback documents written."
    elif current_services().settings.carrier_fallback_url:
        text += " Run `flask telephony render-fallbacks` and copy the files to your server again."
    cli.print_result(output, as_json=as_json, text=text)


def _set_tenant_frozen(tenant_id: UUID, *, services: Services, frozen: bool) -> None:
    with public_session(database=services.database) as session:
        tenant = tenants.get(session, tenant_id=tenant_id)
    schema.require_supported_revision(tenant.schema_revision)
    with tenant_session(tenants.tenant_ref(tenant), database=services.database) as session:
        service.freeze_dialling(session, frozen_at=clock.now() if frozen else None)
