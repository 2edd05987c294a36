"""`/api/me`, `/api/api-keys` (platform) and `/api/tenants/{tenant_id}/api-keys`."""

from typing import Any
from uuid import UUID

from flask import current_app, g

from vca.kit import clock
from vca.kit.web import Blueprint, access, pagination
from vca.kit.web.context import request_session
from vca.registry.api_keys import service
from vca.registry.api_keys.schemas import (
    ApiKeyQuery,
    ApiKeySchema,
    CallerSchema,
    NewApiKeySchema,
)

blp = Blueprint("api keys", __name__, description="API keys of the platform and of tenants.")

T = "/api/tenants/<uuid:tenant_id>"


@blp.route("/api/me", methods=["GET"])
@blp.response(200, CallerSchema)
@access("any_key")
def me() -> Any:
    """Get the current API key"""
    return g.caller


@blp.route("/api/api-keys", methods=["POST"])
@blp.arguments(ApiKeySchema)
@blp.response(201, NewApiKeySchema)
@access("platform", "admin", transaction="public", idempotency="id")
def create_platform_key(body: dict[str, Any]) -> Any:
    """Create a platform API key

    The response contains the key itself. It cannot be retrieved later.
    """
    return _create_key(None, body)


@blp.route("/api/api-keys", methods=["GET"])
@blp.arguments(ApiKeyQuery, location="query")
@blp.response(200, ApiKeySchema(many=True))
@access("platform", "admin", transaction="public")
def list_platform_keys(query: dict[str, Any]) -> Any:
    """List platform API keys"""
    return _list_keys(None, query)


@blp.route("/api/api-keys/<uuid:key_id>", methods=["DELETE"])
@blp.response(204)
@access("platform", "admin", transaction="public")
def revoke_platform_key(key_id: UUID) -> None:
    """Revoke a platform API key

    Requests with the key are rejected immediately.
    """
    service.revoke(request_session(), tenant_id=None, key_id=key_id, now=clock.now())


@blp.route(f"{T}/api-keys", methods=["POST"])
@blp.arguments(ApiKeySchema)
@blp.response(201, NewApiKeySchema)
@access("tenant", "admin", transaction="public", idempotency="id")
def create_tenant_key(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Create a tenant API key

    The response contains the key itself. It cannot be retrieved later. A key cannot grant scopes
    that it does not have, and cannot create a key that expires after it.
    """
    return _create_key(tenant_id, body)


@blp.route(f"{T}/api-keys", methods=["GET"])
@blp.arguments(ApiKeyQuery, location="query")
@blp.response(200, ApiKeySchema(many=True))
@access("tenant", "admin", transaction="public", when_suspended=True)
def list_tenant_keys(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List tenant API keys"""
    return _list_keys(tenant_id, query)


@blp.route(f"{T}/api-keys/<uuid:key_id>", methods=["DELETE"])
@blp.response(204)
@access("tenant", "admin", transaction="public", when_suspended=True)
def revoke_tenant_key(tenant_id: UUID, key_id: UUID) -> None:
    """Revoke a tenant API key

    Requests with the key are rejected immediately. Suspended tenants can revoke keys too.
    """
    service.revoke(request_session(), tenant_id=tenant_id, key_id=key_id, now=clock.now())


def _create_key(tenant_id: UUID | None, body: dict[str, Any]) -> Any:
    row, key = service.create(
        request_session(),
        tenant_id=tenant_id,
        pepper=current_app.config["PEPPERS"][0],
        granted_by=g.caller,
        **body,
    )
    return {**ApiKeySchema().dump(row), "key": key}


def _list_keys(tenant_id: UUID | None, query: dict[str, Any]) -> Any:
    page = pagination.parse_page_request(query)
    return pagination.page_response(
        service.list_page(request_session(), tenant_id=tenant_id, page=page), query
    )
