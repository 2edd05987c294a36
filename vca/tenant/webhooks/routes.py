"""`T/webhooks` and `T/events`."""

from typing import Any
from uuid import UUID

from flask import g

from vca.kit.web import Blueprint, PageQuery, access, pagination
from vca.kit.web.context import request_session
from vca.registry.webhooks import endpoints, handlers
from vca.registry.webhooks.schemas import (
    ArmedSchema,
    DeliveryQuery,
    DeliverySchema,
    NewWebhookSchema,
    RangeSchema,
    SecretWebhookSchema,
    WebhookChangeSchema,
    WebhookSchema,
)
from vca.tenant.webhooks import events, tenant_scope
from vca.tenant.webhooks.schemas import ToldEventQuery, ToldEventSchema

blp = Blueprint("webhooks", __name__, description="What a tenant's own systems are told.")

T = "/api/tenants/<uuid:tenant_id>"
URL = f"{T}/webhooks"
WEBHOOK_URL = f"{URL}/<uuid:webhook_id>"


@blp.route(URL, methods=["POST"])
@blp.arguments(NewWebhookSchema)
@blp.response(201, SecretWebhookSchema)
@access("tenant", "admin", idempotency="id")
def create_webhook(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Register a webhook

    Its `secret` is in this answer and never again. A URL that does not lead to a public address is
    refused, here and whenever it is sent to. A request bears `webhook-id`, `webhook-timestamp` and
    `webhook-signature`, by Standard Webhooks; answer 2xx within 15 seconds. Anything else is tried
    again, ten times over three days.
    """
    return handlers.create(
        tenant_scope.for_tenant(g.tenant), body, base=f"/api/tenants/{tenant_id}/webhooks"
    )


@blp.route(URL, methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, WebhookSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_webhooks(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List a tenant's webhooks, oldest first"""
    return handlers.list_page(tenant_scope.for_tenant(g.tenant), query)


@blp.route(WEBHOOK_URL, methods=["GET"])
@blp.response(200, WebhookSchema)
@access("tenant", "read", transaction="tenant")
def get_webhook(webhook_id: UUID, tenant_id: UUID) -> Any:
    """Show a webhook"""
    return endpoints.get(
        request_session(), tenant_scope.for_tenant(g.tenant), webhook_id=webhook_id
    )


@blp.route(WEBHOOK_URL, methods=["PATCH"])
@blp.arguments(WebhookChangeSchema)
@blp.response(200, WebhookSchema)
@access("tenant", "admin")
def change_webhook(body: dict[str, Any], webhook_id: UUID, tenant_id: UUID) -> Any:
    """Change a webhook

    One that was disabled is used again with `is_active: true`.
    """
    return handlers.change(tenant_scope.for_tenant(g.tenant), body, webhook_id)


@blp.route(WEBHOOK_URL, methods=["DELETE"])
@blp.response(204)
@access("tenant", "admin", transaction="tenant")
def remove_webhook(webhook_id: UUID, tenant_id: UUID) -> None:
    """Remove a webhook, and the record of its deliveries"""
    endpoints.remove(request_session(), tenant_scope.for_tenant(g.tenant), webhook_id=webhook_id)


@blp.route(f"{WEBHOOK_URL}/rotate-secret", methods=["POST"])
@blp.response(200, SecretWebhookSchema)
@access("tenant", "admin", transaction="tenant")
def rotate_webhook_secret(webhook_id: UUID, tenant_id: UUID) -> Any:
    """Give a webhook a new secret

    It is in this answer and never again. For 24 hours each request bears two signatures, one of
    them by the secret before.
    """
    return handlers.rotate_secret(tenant_scope.for_tenant(g.tenant), webhook_id)


@blp.route(f"{WEBHOOK_URL}/test", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def test_webhook(webhook_id: UUID, tenant_id: UUID) -> Any:
    """Send a webhook an event of type `webhook.test`

    What came of it is in its deliveries.
    """
    return handlers.send_test_event(
        tenant_scope.for_tenant(g.tenant), webhook_id, base=f"/api/tenants/{tenant_id}/webhooks"
    )


@blp.route(f"{WEBHOOK_URL}/deliveries", methods=["GET"])
@blp.arguments(DeliveryQuery, location="query")
@blp.response(200, DeliverySchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_deliveries(query: dict[str, Any], webhook_id: UUID, tenant_id: UUID) -> Any:
    """List what was sent to a webhook, newest first

    With every attempt. Kept for 30 days.
    """
    return handlers.list_deliveries(tenant_scope.for_tenant(g.tenant), query, webhook_id)


@blp.route(f"{WEBHOOK_URL}/deliveries/<uuid:delivery_id>/replay", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def replay_delivery(webhook_id: UUID, delivery_id: UUID, tenant_id: UUID) -> Any:
    """Send a delivery again, under the same `webhook-id`"""
    return handlers.redeliver(tenant_scope.for_tenant(g.tenant), webhook_id, delivery_id)


@blp.route(f"{WEBHOOK_URL}/replay", methods=["POST"])
@blp.arguments(RangeSchema)
@blp.response(202, ArmedSchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def replay_deliveries(body: dict[str, Any], webhook_id: UUID, tenant_id: UUID) -> Any:
    """Send a webhook again what it was told in a time

    From `since`, up to but not at `until`, within the last 30 days.
    """
    return handlers.redeliver_range(tenant_scope.for_tenant(g.tenant), body, webhook_id)


@blp.route(f"{T}/events", methods=["GET"])
@blp.arguments(ToldEventQuery, location="query")
@blp.response(200, ToldEventSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_told_events(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List what happened, oldest first

    What webhooks were told, and would have been. To catch up, ask for what was `created_after` a
    minute before the last that was received, and drop the ids that are known: an event shows when
    its transaction ends. Kept for 30 days.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(events.list_page(request_session(), page=page, **query), query)
