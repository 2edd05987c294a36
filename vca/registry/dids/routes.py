"""`/api/dids`: the registry of numbers over all tenants."""

from typing import Any

from vca.kit.web import Blueprint, access, pages
from vca.kit.web.context import session
from vca.registry.dids import service
from vca.registry.dids.schemas import DidQuery, DidSchema

blp = Blueprint("dids", __name__, description="Which number is whose, over all tenants.")


@blp.route("/api/dids", methods=["POST"])
@blp.arguments(DidSchema)
@blp.response(201, DidSchema)
@access("platform", "write", opens="public", repeats="answer")
def assign_did(body: dict[str, Any]) -> Any:
    """Assign a number to a tenant in advance

    Only that tenant, or a platform key on its behalf, can then claim it.
    """
    return service.assign(session(), number=body["did_number"], tenant_id=body["tenant_id"])


@blp.route("/api/dids", methods=["GET"])
@blp.arguments(DidQuery, location="query")
@blp.response(200, DidSchema(many=True))
@access("platform", "read", opens="public")
def list_dids(query: dict[str, Any]) -> Any:
    """List the registry of numbers, by number"""
    page = pages.requested(query)
    return pages.answer(service.list_page(session(), page=page, **query), query)
