"""`T/audit`."""

from typing import Any
from uuid import UUID

from flask import g

from vca.kit.web import Blueprint, access, pagination
from vca.registry.audit.schemas import EntryQuery, EntrySchema
from vca.tenant.audit import service

blp = Blueprint("audit", __name__, description="Who changed what of a tenant.")


@blp.route("/api/tenants/<uuid:tenant_id>/audit", methods=["GET"])
@blp.arguments(EntryQuery, location="query")
@blp.response(200, EntrySchema(many=True))
@access("tenant", "admin")
def list_audit(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List who changed what of a tenant, newest first

    One entry for each operation that changed something, and for each that was shown content: turns,
    recordings, messages. Operators' changes are in it too. What was refused is not. Kept as long as
    the tenant.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(g.tenant, page=page, **query), query)
