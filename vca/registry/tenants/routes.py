"""`/api/tenants`: create, list and update tenants."""

from typing import Any
from uuid import UUID

from vca.kit.web import Blueprint, access, created_response, pagination
from vca.kit.web.context import request_session
from vca.registry.tenants import service
from vca.registry.tenants.schemas import TenantChangeSchema, TenantQuery, TenantSchema
from vca.services import current_services

blp = Blueprint("tenants", __name__, description="The businesses on this platform.")


@blp.route("/api/tenants", methods=["POST"])
@blp.arguments(TenantSchema)
@blp.response(201, TenantSchema)
@access("platform", "write", transaction="public", idempotency="answer")
def create_tenant(body: dict[str, Any]) -> Any:
    """Create a tenant

    The tenant's schema exists and can be used when the response is sent.
    """
    tenant = service.create(request_session(), **body)
    return created_response(tenant, pagination.public_url(f"/api/tenants/{tenant.id}"))


@blp.route("/api/tenants", methods=["GET"])
@blp.arguments(TenantQuery, location="query")
@blp.response(200, TenantSchema(many=True))
@access("platform", "read", transaction="public")
def list_tenants(query: dict[str, Any]) -> Any:
    """List tenants

    The oldest tenant comes first.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(service.list_page(request_session(), page=page, **query), query)


@blp.route("/api/tenants/<uuid:tenant_id>", methods=["GET"])
@blp.response(200, TenantSchema)
@access("tenant", "read", transaction="public", when_deleted=True)
def get_tenant(tenant_id: UUID) -> Any:
    """Get a tenant

    Platform keys can get deleted tenants too.
    """
    return service.get(request_session(), tenant_id=tenant_id)


@blp.route("/api/tenants/<uuid:tenant_id>", methods=["PATCH"])
@blp.arguments(TenantChangeSchema)
@blp.response(200, TenantSchema)
@access("platform", "write", transaction="public", when_deleted=True)
def change_tenant(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Update a tenant

    Change the status or the plan. Allowed changes of the status are active ⇄ suspended, either →
    deleted, and deleted → active until the tenant is purged. Deleting a tenant stops its numbers,
    which are then quarantined for 30 days.
    """
    return service.update(
        request_session(), tenant_id=tenant_id, **body, services=current_services()
    )
