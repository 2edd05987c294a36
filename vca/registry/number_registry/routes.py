"""`/api/dids`: the number registry of all tenants."""

from typing import Any

from vca.kit.web import Blueprint, access, pagination
from vca.kit.web.context import request_session
from vca.registry.number_registry import service
from vca.registry.number_registry.schemas import DidQuery, DidSchema

blp = Blueprint("dids", __name__, description="The number registry of all tenants.")


@blp.route("/api/dids", methods=["POST"])
@blp.arguments(DidSchema)
@blp.response(201, DidSchema)
@access("platform", "write", transaction="public", idempotency="answer")
def assign_did(body: dict[str, Any]) -> Any:
    """Assign a number to a tenant

    Only that tenant, or a platform key on its behalf, can then claim the number.
    """
    return service.assign(request_session(), number=body["did_number"], tenant_id=body["tenant_id"])


@blp.route("/api/dids", methods=["GET"])
@blp.arguments(DidQuery, location="query")
@blp.response(200, DidSchema(many=True))
@access("platform", "read", transaction="public")
def list_dids(query: dict[str, Any]) -> Any:
    """List numbers in the registry"""
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(request_session(), page=page, **query), query)
