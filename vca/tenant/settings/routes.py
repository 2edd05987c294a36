"""`T/settings`."""

from typing import Any
from uuid import UUID

from vca.kit.web import Blueprint, access
from vca.kit.web.context import session
from vca.tenant.settings import service
from vca.tenant.settings.schemas import SettingsSchema

blp = Blueprint("settings", __name__, description="What holds for all numbers of a tenant.")

URL = "/api/tenants/<uuid:tenant_id>/settings"


@blp.route(URL, methods=["GET"])
@blp.response(200, SettingsSchema)
@access("tenant", "read", opens="tenant")
def get_settings(tenant_id: UUID) -> Any:
    """Show a tenant's settings"""
    return service.shown(service.get(session()))


@blp.route(URL, methods=["PATCH"])
@blp.arguments(SettingsSchema)
@blp.response(200, SettingsSchema)
@access("tenant", "write", opens="tenant")
def change_settings(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Change a tenant's settings

    What is left out stays as it is; a sentence set to null becomes the default again.
    """
    return service.shown(service.change(session(), **body))
