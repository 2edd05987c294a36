"""`/api/webhooks`: the platform's webhooks, which receive the events of all tenants."""

from typing import Any
from uuid import UUID

from vca.kit.web import Blueprint, PageQuery, access
from vca.kit.web.context import request_session
from vca.registry.webhooks import endpoints, handlers
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
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

blp = Blueprint(
    "operator webhooks",
    __name__,
    description="Webhooks of the platform, for the events of all tenants.",
)

URL = "/api/webhooks"
WEBHOOK_URL = f"{URL}/<uuid:webhook_id>"


@blp.route(URL, methods=["POST"])
@blp.arguments(NewWebhookSchema)
@blp.response(201, SecretWebhookSchema)
@access("platform", "admin", idempotency="id")
def create_operator_webhook(body: dict[str, Any]) -> Any:
    """Create a platform webhook

    The response contains the `secret`. It cannot be retrieved later. URLs that do not resolve to a
    public address are rejected, now and for each delivery. Requests have the headers `webhook-id`,
    `webhook-timestamp` and `webhook-signature` of Standard Webhooks. Respond with 2xx within 15
    seconds. Any other response counts as a failure, and the event is sent again, up to ten times
    over three days.
    """
    return handlers.create(PLATFORM_SCOPE, body, base="/api/webhooks")


@blp.route(URL, methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, WebhookSchema(many=True))
@access("platform", "read", transaction="public")
def list_operator_webhooks(query: dict[str, Any]) -> Any:
    """List platform webhooks

    The oldest webhook comes first.
    """
    return handlers.list_page(PLATFORM_SCOPE, query)


@blp.route(WEBHOOK_URL, methods=["GET"])
@blp.response(200, WebhookSchema)
@access("platform", "read", transaction="public")
def get_operator_webhook(webhook_id: UUID) -> Any:
    """Get a platform webhook"""
    return endpoints.get(request_session(), PLATFORM_SCOPE, webhook_id=webhook_id)


@blp.route(WEBHOOK_URL, methods=["PATCH"])
@blp.arguments(WebhookChangeSchema)
@blp.response(200, WebhookSchema)
@access("platform", "admin")
def change_operator_webhook(body: dict[str, Any], webhook_id: UUID) -> Any:
    """Update a platform webhook

    To enable a disabled webhook, set `is_active` to true.
    """
    return handlers.change(PLATFORM_SCOPE, body, webhook_id)


@blp.route(WEBHOOK_URL, methods=["DELETE"])
@blp.response(204)
@access("platform", "admin", transaction="public")
def remove_operator_webhook(webhook_id: UUID) -> None:
    """Delete a platform webhook

    Its deliveries are deleted too.
    """
    endpoints.remove(request_session(), PLATFORM_SCOPE, webhook_id=webhook_id)


@blp.route(f"{WEBHOOK_URL}/rotate-secret", methods=["POST"])
@blp.response(200, SecretWebhookSchema)
@access("platform", "admin", transaction="public")
def rotate_operator_webhook_secret(webhook_id: UUID) -> Any:
    """Rotate the secret of a platform webhook

    The response contains the new `secret`. It cannot be retrieved later. For 24 hours each request
    has two signatures, one of them with the previous secret.
    """
    return handlers.rotate_secret(PLATFORM_SCOPE, webhook_id)


@blp.route(f"{WEBHOOK_URL}/test", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("platform", "write", transaction="public", idempotency="answer")
def test_operator_webhook(webhook_id: UUID) -> Any:
    """Send a test event to a platform webhook

    The event has the type `webhook.test`. List the webhook's deliveries to see the result.
    """
    return handlers.send_test_event(PLATFORM_SCOPE, webhook_id, base="/api/webhooks")


@blp.route(f"{WEBHOOK_URL}/deliveries", methods=["GET"])
@blp.arguments(DeliveryQuery, location="query")
@blp.response(200, DeliverySchema(many=True))
@access("platform", "read", transaction="public")
def list_operator_deliveries(query: dict[str, Any], webhook_id: UUID) -> Any:
    """List deliveries of a platform webhook

    The newest delivery comes first. Each has all of its attempts. Deliveries are kept for 30 days.
    """
    return handlers.list_deliveries(PLATFORM_SCOPE, query, webhook_id)


@blp.route(f"{WEBHOOK_URL}/deliveries/<uuid:delivery_id>/replay", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("platform", "write", transaction="public", idempotency="answer")
def replay_operator_delivery(webhook_id: UUID, delivery_id: UUID) -> Any:
    """Redeliver an event to a platform webhook

    The request has the same `webhook-id` as before.
    """
    return handlers.redeliver(PLATFORM_SCOPE, webhook_id, delivery_id)


@blp.route(f"{WEBHOOK_URL}/replay", methods=["POST"])
@blp.arguments(RangeSchema)
@blp.response(202, ArmedSchema)
@access("platform", "write", transaction="public", idempotency="answer")
def replay_operator_deliveries(body: dict[str, Any], webhook_id: UUID) -> Any:
    """Redeliver events to a platform webhook in a time range

    Redelivers the events created from `since` until before `until`, within the last 30 days.
    """
    return handlers.redeliver_range(PLATFORM_SCOPE, body, webhook_id)
