"""`/api/webhooks`: the operator's, which want the events of all tenants."""

from typing import Any
from uuid import UUID

from vca.kit.web import Blueprint, PageQuery, access
from vca.kit.web.context import session
from vca.registry.webhooks import endpoints, views
from vca.registry.webhooks.operator import OPERATOR
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
ONE = f"{URL}/<uuid:webhook_id>"


@blp.route(URL, methods=["POST"])
@blp.arguments(NewWebhookSchema)
@blp.response(201, SecretWebhookSchema)
@access("platform", "admin", repeats="id")
def create_operator_webhook(body: dict[str, Any]) -> Any:
    """Register an operator's webhook

    Its `secret` is in this answer and never again. A URL that does not lead to a public address is
    refused, here and whenever it is sent to. A request bears `webhook-id`, `webhook-timestamp` and
    `webhook-signature`, by Standard Webhooks; answer 2xx within 15 seconds. Anything else is tried
    again, ten times over three days.
    """
    return views.create(OPERATOR, body, base="/api/webhooks")


@blp.route(URL, methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, WebhookSchema(many=True))
@access("platform", "read", opens="public")
def list_operator_webhooks(query: dict[str, Any]) -> Any:
    """List the operator's webhooks, oldest first"""
    return views.list_page(OPERATOR, query)


@blp.route(ONE, methods=["GET"])
@blp.response(200, WebhookSchema)
@access("platform", "read", opens="public")
def get_operator_webhook(webhook_id: UUID) -> Any:
    """Show an operator's webhook"""
    return endpoints.get(session(), OPERATOR, webhook_id=webhook_id)


@blp.route(ONE, methods=["PATCH"])
@blp.arguments(WebhookChangeSchema)
@blp.response(200, WebhookSchema)
@access("platform", "admin")
def change_operator_webhook(body: dict[str, Any], webhook_id: UUID) -> Any:
    """Change an operator's webhook

    One that was disabled is used again with `is_active: true`.
    """
    return views.change(OPERATOR, body, webhook_id)


@blp.route(ONE, methods=["DELETE"])
@blp.response(204)
@access("platform", "admin", opens="public")
def remove_operator_webhook(webhook_id: UUID) -> None:
    """Remove an operator's webhook, and the record of its deliveries"""
    endpoints.remove(session(), OPERATOR, webhook_id=webhook_id)


@blp.route(f"{ONE}/rotate-secret", methods=["POST"])
@blp.response(200, SecretWebhookSchema)
@access("platform", "admin", opens="public")
def rotate_operator_webhook_secret(webhook_id: UUID) -> Any:
    """Give an operator's webhook a new secret

    It is in this answer and never again. For 24 hours each request bears two signatures, one of
    them by the secret before.
    """
    return views.rotate_secret(OPERATOR, webhook_id)


@blp.route(f"{ONE}/test", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("platform", "write", opens="public", repeats="answer")
def test_operator_webhook(webhook_id: UUID) -> Any:
    """Send an operator's webhook an event of type `webhook.test`

    What came of it is in its deliveries.
    """
    return views.test(OPERATOR, webhook_id, base="/api/webhooks")


@blp.route(f"{ONE}/deliveries", methods=["GET"])
@blp.arguments(DeliveryQuery, location="query")
@blp.response(200, DeliverySchema(many=True))
@access("platform", "read", opens="public")
def list_operator_deliveries(query: dict[str, Any], webhook_id: UUID) -> Any:
    """List what was sent to an operator's webhook, newest first

    With every attempt. Kept for 30 days.
    """
    return views.list_deliveries(OPERATOR, query, webhook_id)


@blp.route(f"{ONE}/deliveries/<uuid:delivery_id>/replay", methods=["POST"])
@blp.response(202, DeliverySchema)
@access("platform", "write", opens="public", repeats="answer")
def replay_operator_delivery(webhook_id: UUID, delivery_id: UUID) -> Any:
    """Send a delivery to the operator again, under the same `webhook-id`"""
    return views.replay(OPERATOR, webhook_id, delivery_id)


@blp.route(f"{ONE}/replay", methods=["POST"])
@blp.arguments(RangeSchema)
@blp.response(202, ArmedSchema)
@access("platform", "write", opens="public", repeats="answer")
def replay_operator_deliveries(body: dict[str, Any], webhook_id: UUID) -> Any:
    """Send an operator's webhook again what it was told in a time

    From `since`, up to but not at `until`, within the last 30 days.
    """
    return views.replay_range(OPERATOR, body, webhook_id)
