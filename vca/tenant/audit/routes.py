"""HTTP routes of `/tenants/{tenant_id}/audit`."""

from typing import Any
from uuid import UUID

from flask import g

from vca.kit.web import Blueprint, access, pagination
from vca.registry.audit.schemas import EntryQuery, EntrySchema
from vca.services import current_services
from vca.tenant.audit import service

blp = Blueprint(
    "audit",
    __name__,
    description="Who changed a tenant's data, and who read the content of its calls.",
)


@blp.route("/api/tenants/<uuid:tenant_id>/audit", methods=["GET"])
@blp.arguments(EntryQuery, location="query")
@blp.response(200, EntrySchema(many=True))
@access("tenant", "admin", calls_out=False)
def list_audit(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List audit log entries

    Entries are sorted from newest to oldest. There is one entry for each operation that changed
    something and one for each operation that returned content: turns, recordings or messages.
    Changes by platform keys are included. Rejected requests are not. Entries are kept as long as
    the tenant exists.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_page(g.tenant, page=page, **query, services=current_services()), query
    )
