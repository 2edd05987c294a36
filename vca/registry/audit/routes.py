"""`/api/audit`: what was done on the platform, and to tenants from outside of their schemas."""

from typing import Any

from vca.kit.web import Blueprint, access, pagination
from vca.kit.web.context import request_session
from vca.registry.audit import service
from vca.registry.audit.schemas import EntrySchema, PlatformEntryQuery

blp = Blueprint("platform audit", __name__, description="Who changed what on the platform.")


@blp.route("/api/audit", methods=["GET"])
@blp.arguments(PlatformEntryQuery, location="query")
@blp.response(200, EntrySchema(many=True))
@access("platform", "admin", transaction="public")
def list_platform_audit(query: dict[str, Any]) -> Any:
    """List what was done on the platform, newest first

    Tenants and their keys, platform keys, assigned numbers, operators' webhooks, and commands. What
    is done inside a tenant is in that tenant's own list. Kept for good.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(request_session(), page=page, **query), query)
