"""HTTP routes of `/tenants/{tenant_id}/webhooks` and `/tenants/{tenant_id}/events`."""

from typing import Any
from uuid import UUID

from flask import g

from vca.kit.web import Blueprint, PageQuery, access, pagination
from vca.kit.web.context import request_reader, request_session
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

blp = Blueprint("webhooks", __name__, description="Webhooks and events of a tenant.")

T = "/api/tenants/<uuid:tenant_id>"
URL = f"{T}/webhooks"
WEBHOOK_URL = f"{URL}/<uuid:webhook_id>"


@blp.route(URL, methods=["POST"])
@blp.arguments(NewWebhookSchema)
@blp.response(201, SecretWebhookSchema)
@access("tenant", "admin", idempotency="id")
def create_webhook(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Create a webhook

    The response contains the `secret`. It cannot be retrieved later. URLs that do not resolve to a
    public address are rejected, now and for each delivery. Requests have the headers `webhook-id`,
    `webhook-timestamp` and `webhook-signature` of Standard Webhooks. Respond with 2xx within 15
    seconds. Any other response counts as a failure, and the event is sent again, up to ten times
    over three days.
    """
    return handlers.create(
        tenant_scope.for_tenant(g.tenant),
        body,
        base=f"/api/tenants/{tenant_id}/webhooks",
    )


@blp.route(URL, methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, WebhookSchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_webhooks(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List webhooks

    The oldest webhook comes first.
    """
    return handlers.list_page(tenant_scope.for_tenant(g.tenant), query)


@blp.route(WEBHOOK_URL, methods=["GET"])
@blp.response(200, WebhookSchema)
@access("tenant", "read", transaction="tenant")
def get_webhook(webhook_id: UUID, tenant_id: UUID) -> Any:
    """Get a webhook"""
    return endpoints.get(
        request_session(),
        tenant_scope.for_tenant(g.tenant),
        webhook_id=webhook_id,
    )


@blp.route(WEBHOOK_URL, methods=["PATCH"])
@blp.arguments(WebhookChangeSchema)
@blp.response(200, WebhookSchema)
@access("tenant", "admin")
def change_webhook(body: dict[str, Any], webhook_id: UUID, tenant_id: UUID) -> Any:
    """Update a webhook

    To enable a disabled webhook, set `is_active` to true.
    """
    return handlers.change(tenant_scope.for_tenant(g.tenant), body, webhook_id)


@blp.route(WEBHOOK_URL, methods=["DELETE"])
@blp.response(204)
@access("tenant", "admin", transaction="tenant")
def remove_webhook(webhook_id: UUID, tenant_id: UUID) -> None:
    """Delete a webhook

    Its deliveries are deleted too.
    """
    endpoints.remove(
        request_session(),
        tenant_scope.for_tenant(g.tenant),
        webhook_id=webhook_id,
    )


@blp.route(f"{WEBHOOK_URL}/rotate-secret", methods=["POST"])
@blp.response(200, SecretWebhookSchema)
@access("tenant", "admin", transaction="tenant")
def rotate_webhook_secret(webhook_id: UUID, tenant_id: UUID) -> Any:
    """Rotate the secret of a webhook

    The response contains the new `secret`. It cannot be retrieved later. For 24 hours each request
    has two signatures, one of them with the previous secret.
    """
    return handlers.rotate_secret(tenant_scope.for_tenant(g.tenant), webhook_id)


@blp.route(f"{WEBHOOK_URL}/test", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def test_webhook(webhook_id: UUID, tenant_id: UUID) -> Any:
    """Send a test event

    The event has the type `webhook.test`. List the webhook's deliveries to see the result.
    """
    return handlers.send_test_event(
        tenant_scope.for_tenant(g.tenant),
        webhook_id,
        base=f"/api/tenants/{tenant_id}/webhooks",
    )


@blp.route(f"{WEBHOOK_URL}/deliveries", methods=["GET"])
@blp.arguments(DeliveryQuery, location="query")
@blp.response(200, DeliverySchema(many=True))
@access("tenant", "read", transaction="tenant")
def list_deliveries(query: dict[str, Any], webhook_id: UUID, tenant_id: UUID) -> Any:
    """List deliveries of a webhook

    The newest delivery comes first. Each has all of its attempts. Deliveries are kept for 30 days.
    """
    return handlers.list_deliveries(tenant_scope.for_tenant(g.tenant), query, webhook_id)


@blp.route(f"{WEBHOOK_URL}/deliveries/<uuid:delivery_id>/replay", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def replay_delivery(webhook_id: UUID, delivery_id: UUID, tenant_id: UUID) -> Any:
    """Redeliver an event

    The event is sent again with the same `webhook-id`.
    """
    return handlers.redeliver(tenant_scope.for_tenant(g.tenant), webhook_id, delivery_id)


@blp.route(f"{WEBHOOK_URL}/replay", methods=["POST"])
@blp.arguments(RangeSchema)
@blp.response(202, ArmedSchema)
@access("tenant", "write", transaction="tenant", idempotency="answer")
def replay_deliveries(body: dict[str, Any], webhook_id: UUID, tenant_id: UUID) -> Any:
    """Redeliver events in a time range

    The range begins at `since`, ends before `until`, and lies within the last 30 days.
    """
    return handlers.redeliver_range(tenant_scope.for_tenant(g.tenant), body, webhook_id)


@blp.route(f"{T}/events", methods=["GET"])
@blp.arguments(ToldEventQuery, location="query")
@blp.response(200, ToldEventSchema(many=True))
@access("tenant", "read", transaction="tenant_read")
def list_told_events(query: dict[str, Any], tenant_id: UUID) -> Any:
    """List events

    The oldest event comes first. The list has all events, also those that no webhook has received.
    To catch up, request the events `created_after` a minute before the last event that you have
    received, and skip the ids that you know: an event becomes visible when its transaction commits.
    Events are kept for 30 days.
    """
    page = pagination.parse_page_request(query)
    return pagination.page_response(events.list_page(request_reader(), page=page, **query), query)
