"""What the operations of webhooks do, of tenants' and of the operator's: `routes` name them."""

from typing import Any
from uuid import UUID

from vca.kit import clock, http
from vca.kit.web import created_response, pagination
from vca.kit.web.blueprint import accepted_response
from vca.kit.web.context import request_session
from vca.registry.webhooks import deliveries, endpoints
from vca.registry.webhooks.mixins import EndpointMixin
from vca.registry.webhooks.schemas import WebhookSchema
from vca.registry.webhooks.scope import WebhookScope


def create(scope: WebhookScope, body: dict[str, Any], *, base: str) -> Any:
    """Register a webhook under the path `base`; opens its own transaction, after the look-up."""
    endpoints.check_url(body["url"], client=http.current_client())
    with scope.open_session() as db_session:
        document = _with_secret(*endpoints.create(db_session, scope, **body))
    return created_response(document, pagination.public_url(f"{base}/{document['id']}"))


def change(scope: WebhookScope, body: dict[str, Any], webhook_id: UUID) -> Any:
    """Change a webhook; opens its own transaction, after the look-up."""
    if "url" in body:
        endpoints.check_url(body["url"], client=http.current_client())
    with scope.open_session() as db_session:
        return endpoints.change(db_session, scope, webhook_id=webhook_id, now=clock.now(), **body)


def list_page(scope: WebhookScope, query: dict[str, Any]) -> Any:
    """List webhooks."""
    page = pagination.parse_page_request(query)
    return pagination.page_response(endpoints.list_page(request_session(), scope, page=page), query)


def rotate_secret(scope: WebhookScope, webhook_id: UUID) -> Any:
    """Give a webhook a new secret, and show it."""
    result = endpoints.rotate_secret(
        request_session(), scope, webhook_id=webhook_id, now=clock.now()
    )
    return _with_secret(*result)


def send_test_event(scope: WebhookScope, webhook_id: UUID, *, base: str) -> Any:
    """Order a test; `base` is the path of the webhooks."""
    row = deliveries.send_test_event(
        request_session(), scope, webhook_id=webhook_id, now=clock.now()
    )
    path = f"{base}/{webhook_id}/deliveries?event_id={row.event_id}"
    return accepted_response(row, pagination.public_url(path))


def list_deliveries(scope: WebhookScope, query: dict[str, Any], webhook_id: UUID) -> Any:
    """List what was sent."""
    page = pagination.parse_page_request(query)
    deliveries_page = deliveries.list_page(
        request_session(), scope, webhook_id=webhook_id, page=page, **query
    )
    return pagination.page_response(deliveries_page, query)


def redeliver(scope: WebhookScope, webhook_id: UUID, delivery_id: UUID) -> Any:
    """Send one again."""
    return deliveries.redeliver(
        request_session(), scope, webhook_id=webhook_id, delivery_id=delivery_id, now=clock.now()
    )


def redeliver_range(scope: WebhookScope, body: dict[str, Any], webhook_id: UUID) -> Any:
    """Send many again."""
    rescheduled_count = deliveries.redeliver_range(
        request_session(), scope, webhook_id=webhook_id, now=clock.now(), **body
    )
    return {"deliveries": rescheduled_count}


def _with_secret(row: EndpointMixin, secret: str) -> dict[str, Any]:
    return {**WebhookSchema().dump(row), "secret": secret}
