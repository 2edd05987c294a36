"""`/api/tenants`: the platform's list of tenants."""

from typing import Any
from uuid import UUID

from vca.kit.web import Blueprint, access, created, pages
from vca.kit.web.context import session
from vca.registry.tenants import service
from vca.registry.tenants.schemas import TenantChangeSchema, TenantQuery, TenantSchema

blp = Blueprint("tenants", __name__, description="The businesses on this platform.")


@blp.route("/api/tenants", methods=["POST"])
@blp.arguments(TenantSchema)
@blp.response(201, TenantSchema)
@access("platform", "write", opens="public", repeats="answer")
def create_tenant(body: dict[str, Any]) -> Any:
    """Create a tenant

    Its schema with all tables exists and is usable when this answers.
    """
    tenant = service.create(session(), **body)
    return created(tenant, pages.public_path(f"/api/tenants/{tenant.id}"))


@blp.route("/api/tenants", methods=["GET"])
@blp.arguments(TenantQuery, location="query")
@blp.response(200, TenantSchema(many=True))
@access("platform", "read", opens="public")
def list_tenants(query: dict[str, Any]) -> Any:
    """List tenants, oldest first"""
    page = pages.requested(query)
    return pages.answer(service.list_page(session(), page=page, **query), query)


@blp.route("/api/tenants/<uuid:tenant_id>", methods=["GET"])
@blp.response(200, TenantSchema)
@access("tenant", "read", opens="public", when_deleted=True)
def get_tenant(tenant_id: UUID) -> Any:
    """Show a tenant

    A platform key sees a deleted tenant too.
    """
    return service.get(session(), tenant_id=tenant_id)


@blp.route("/api/tenants/<uuid:tenant_id>", methods=["PATCH"])
@blp.arguments(TenantChangeSchema)
@blp.response(200, TenantSchema)
@access("platform", "write", opens="public", when_deleted=True)
def change_tenant(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Suspend, activate, delete or restore a tenant, or change its plan

    active ⇄ suspended; either → deleted; deleted → active until it is purged. Deleting stops the
    tenant's numbers, which then rest for 30 days.
    """
    return service.update(session(), tenant_id=tenant_id, **body)
