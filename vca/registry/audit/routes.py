"""`/api/audit`: operations on the platform, and on tenants from outside of their schemas."""

from typing import Any

from vca.kit.web import Blueprint, access, pagination
from vca.kit.web.context import request_session
from vca.registry.audit import service
from vca.registry.audit.schemas import EntrySchema, PlatformEntryQuery

blp = Blueprint("platform audit", __name__, description="The audit log of the platform.")


@blp.route("/api/audit", methods=["GET"])
@blp.arguments(PlatformEntryQuery, location="query")
@blp.response(200, EntrySchema(many=True))
@access("platform", "admin", transaction="public")
def list_platform_audit(query: dict[str, Any]) -> Any:
    """List platform audit entries

    The newest entries come first. They cover tenants and their API keys, platform API keys,
    assigned numbers, platform webhooks and commands. Operations inside a tenant are in the tenant's
    own audit log. Entries are never deleted.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(request_session(), page=page, **query), query)
