"""`/api/webhooks`: the operator's, which want the events of all tenants."""

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

blp = Blueprint("operator webhooks", __name__, description="Where all tenants' events are told.")

URL = "/api/webhooks"
WEBHOOK_URL = f"{URL}/<uuid:webhook_id>"


@blp.route(URL, methods=["POST"])
@blp.arguments(NewWebhookSchema)
@blp.response(201, SecretWebhookSchema)
@access("platform", "admin", idempotency="id")
def create_operator_webhook(body: dict[str, Any]) -> Any:
    """Register an operator's webhook

    Its `secret` is in this answer and never again. A URL that does not lead to a public address is
    refused, here and whenever it is sent to. A request bears `webhook-id`, `webhook-timestamp` and
    `webhook-signature`, by Standard Webhooks; answer 2xx within 15 seconds. Anything else is tried
    again, ten times over three days.
    """
    return handlers.create(PLATFORM_SCOPE, body, base="/api/webhooks")


@blp.route(URL, methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, WebhookSchema(many=True))
@access("platform", "read", transaction="public")
def list_operator_webhooks(query: dict[str, Any]) -> Any:
    """List the operator's webhooks, oldest first"""
    return handlers.list_page(PLATFORM_SCOPE, query)


@blp.route(WEBHOOK_URL, methods=["GET"])
@blp.response(200, WebhookSchema)
@access("platform", "read", transaction="public")
def get_operator_webhook(webhook_id: UUID) -> Any:
    """Show an operator's webhook"""
    return endpoints.get(request_session(), PLATFORM_SCOPE, webhook_id=webhook_id)


@blp.route(WEBHOOK_URL, methods=["PATCH"])
@blp.arguments(WebhookChangeSchema)
@blp.response(200, WebhookSchema)
@access("platform", "admin")
def change_operator_webhook(body: dict[str, Any], webhook_id: UUID) -> Any:
    """Change an operator's webhook

    One that was disabled is used again with `is_active: true`.
    """
    return handlers.change(PLATFORM_SCOPE, body, webhook_id)


@blp.route(WEBHOOK_URL, methods=["DELETE"])
@blp.response(204)
@access("platform", "admin", transaction="public")
def remove_operator_webhook(webhook_id: UUID) -> None:
    """Remove an operator's webhook, and the record of its deliveries"""
    endpoints.remove(request_session(), PLATFORM_SCOPE, webhook_id=webhook_id)


@blp.route(f"{WEBHOOK_URL}/rotate-secret", methods=["POST"])
@blp.response(200, SecretWebhookSchema)
@access("platform", "admin", transaction="public")
def rotate_operator_webhook_secret(webhook_id: UUID) -> Any:
    """Give an operator's webhook a new secret

    It is in this answer and never again. For 24 hours each request bears two signatures, one of
    them by the secret before.
    """
    return handlers.rotate_secret(PLATFORM_SCOPE, webhook_id)


@blp.route(f"{WEBHOOK_URL}/test", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("platform", "write", transaction="public", idempotency="answer")
def test_operator_webhook(webhook_id: UUID) -> Any:
    """Send an operator's webhook an event of type `webhook.test`

    What came of it is in its deliveries.
    """
    return handlers.send_test_event(PLATFORM_SCOPE, webhook_id, base="/api/webhooks")


@blp.route(f"{WEBHOOK_URL}/deliveries", methods=["GET"])
@blp.arguments(DeliveryQuery, location="query")
@blp.response(200, DeliverySchema(many=True))
@access("platform", "read", transaction="public")
def list_operator_deliveries(query: dict[str, Any], webhook_id: UUID) -> Any:
    """List what was sent to an operator's webhook, newest first

    With every attempt. Kept for 30 days.
    """
    return handlers.list_deliveries(PLATFORM_SCOPE, query, webhook_id)


@blp.route(f"{WEBHOOK_URL}/deliveries/<uuid:delivery_id>/replay", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("platform", "write", transaction="public", idempotency="answer")
def replay_operator_delivery(webhook_id: UUID, delivery_id: UUID) -> Any:
    """Send a delivery to the operator again, under the same `webhook-id`"""
    return handlers.redeliver(PLATFORM_SCOPE, webhook_id, delivery_id)


@blp.route(f"{WEBHOOK_URL}/replay", methods=["POST"])
@blp.arguments(RangeSchema)
@blp.response(202, ArmedSchema)
@access("platform", "write", transaction="public", idempotency="answer")
def replay_operator_deliveries(body: dict[str, Any], webhook_id: UUID) -> Any:
    """Send an operator's webhook again what it was told in a time

    From `since`, up to but not at `until`, within the last 30 days.
    """
    return handlers.redeliver_range(PLATFORM_SCOPE, body, webhook_id)
