"""HTTP routes of `/tenants/{tenant_id}/settings`."""

from typing import Any
from uuid import UUID

from flask import g

from vca.kit.web import Blueprint, access
from vca.kit.web.access import PlatformKeyNeeded
from vca.kit.web.context import request_session
from vca.services import current_services
from vca.tenant.settings import destinations, service, widening
from vca.tenant.settings.schemas import SettingsSchema

blp = Blueprint(
    "settings", __name__, description="Settings that apply to all phone numbers of a tenant."
)

URL = "/api/tenants/<uuid:tenant_id>/settings"


@blp.route(URL, methods=["GET"])
@blp.response(200, SettingsSchema)
@access("tenant", "read", transaction="tenant")
def get_settings(tenant_id: UUID) -> Any:
    """Get settings"""
    return service.settings_to_dict(
        request_session(), service.get(request_session()), services=current_services()
    )


@blp.route(URL, methods=["PATCH"])
@blp.arguments(SettingsSchema)
@blp.response(200, SettingsSchema)
@access("tenant", "write", transaction="tenant")
def change_settings(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Update settings

    Omitted fields keep their value, also inside of a document. An entry that is set to null is
    reset to its default. Changing `limits` requires a platform key. Changes that allow more numbers
    or countries to be dialled, or that raise or remove `spend_cap`, require the scope `admin`.
    Messages are content: setting another `notification_email` requires the scope `content`;
    removing it does not.
    """
    if "limits" in body and not g.caller.is_platform:
        raise PlatformKeyNeeded("Changing limits requires a platform key.")
    session = request_session()
    before = service.get(session, for_update=True)
    destinations_before = destinations.read_destinations(before)
    dialling_before = widening.read_dialling(session, before, services=current_services())
    settings = service.change(session, **body, services=current_services())
    scopes = g.caller.scopes
    destinations.require_scope(destinations_before, settings, scopes=scopes)
    dialling_after = widening.read_dialling(session, settings, services=current_services())
    widening.require_scope(session, settings, dialling_before, dialling_after, scopes=scopes)
    return service.settings_to_dict(session, settings, services=current_services())
