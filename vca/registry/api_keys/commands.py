"""`flask api-keys`: create, list and revoke API keys."""

from uuid import UUID

import click
from flask import current_app

from vca import cli
from vca.kit import clock
from vca.registry.api_keys import service
from vca.registry.api_keys.models import SCOPES
from vca.registry.api_keys.schemas import ApiKeySchema
from vca.registry.tenants import service as tenants
from vca.services import current_services
from vca.tenancy.session import public_session

api_keys = cli.Group("api-keys", help="Manage API keys.")

_PLATFORM = click.option("--platform", is_flag=True, help="Platform keys.")
_TENANT = click.option("--tenant", "tenant_id", type=click.UUID, help="Keys of this tenant.")


@api_keys.command("create")
@_PLATFORM
@_TENANT
@click.option("--name", required=True, help="What the key is for.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="Default: all.")
@click.option("--expires-at", help="Expiry time of the key, in RFC 3339.")
@cli.as_json
def create(
    platform: bool,
    tenant_id: UUID | None,
    name: str,
    scopes: tuple[str, ...],
    expires_at: str | None,
    as_json: bool,
) -> None:
    """Create an API key.

    The key is printed once and cannot be shown again.
    """
    _require_one_owner(platform, tenant_id)
    arguments = {"name": name, "expires_at": expires_at, "scopes": list(scopes or SCOPES)}
    fields = cli.load_or_fail(ApiKeySchema(), arguments)
    with public_session(database=current_services().database) as session:
        if tenant_id is not None:
            tenants.get(session, tenant_id=tenant_id)
        pepper = current_app.config["PEPPERS"][0]
        row, key = service.create(session, tenant_id=tenant_id, pepper=pepper, **fields)
        session.refresh(row)
        document = {**ApiKeySchema().dump(row), "key": key}
    cli.print_result(document, as_json=as_json, text=key)


@api_keys.command("list")
@_PLATFORM
@_TENANT
@cli.as_json
def list_(platform: bool, tenant_id: UUID | None, as_json: bool) -> None:
    """List API keys, including revoked ones."""
    _require_one_owner(platform, tenant_id)
    with public_session(database=current_services().database) as session:
        keys = cli.iterate_items(
            lambda page: service.list_page(session, tenant_id=tenant_id, page=page)
        )
        rows = ApiKeySchema().dump(keys, many=True)
    columns = ("id", "prefix", "name", "scopes", "created_at", "last_used_at", "revoked_at")
    cli.print_result(rows, as_json=as_json, text=cli.format_table(rows, columns))


@api_keys.command("revoke")
@click.argument("key_id", type=click.UUID, metavar="KEY_ID")
@cli.as_json
def revoke(key_id: UUID, as_json: bool) -> None:
    """Revoke an API key immediately."""
    with public_session(database=current_services().database) as session:
        row = service.get(session, key_id=key_id)
        service.revoke(session, tenant_id=row.tenant_id, key_id=key_id, now=clock.now())
        document = ApiKeySchema().dump(row)
    cli.print_result(document, as_json=as_json, text=f"{row.prefix}… ({row.name}) was revoked.")


def _require_one_owner(platform: bool, tenant_id: UUID | None) -> None:
    if platform == (tenant_id is not None):
        raise click.UsageError("Give either --platform or --tenant ID.")
