"""Request handlers for webhooks of tenants and of the platform; `routes` calls them."""

from typing import Any
from uuid import UUID

from vca.kit import clock
from vca.kit.web import created_response, pagination
from vca.kit.web.blueprint import accepted_response
from vca.kit.web.context import request_session
from vca.registry.webhooks import deliveries, endpoints
from vca.registry.webhooks.mixins import EndpointMixin
from vca.registry.webhooks.schemas import WebhookSchema
from vca.registry.webhooks.scope import WebhookScope
from vca.services import current_services


def create(scope: WebhookScope, body: dict[str, Any], *, base: str) -> Any:
    """Create a webhook under the path `base`, in a transaction begun after the DNS look-up."""
    endpoints.check_url(body["url"], client=current_services().http_client)
    with scope.open_session(current_services().database) as db_session:
        document = _with_secret(
            *endpoints.create(db_session, scope, **body, services=current_services())
        )
    return created_response(document, pagination.public_url(f"{base}/{document['id']}"))


def change(scope: WebhookScope, body: dict[str, Any], webhook_id: UUID) -> Any:
    """Update a webhook, in a transaction begun after the DNS look-up."""
    if "url" in body:
        endpoints.check_url(body["url"], client=current_services().http_client)
    with scope.open_session(current_services().database) as db_session:
        return endpoints.change(db_session, scope, webhook_id=webhook_id, now=clock.now(), **body)


def list_page(scope: WebhookScope, query: dict[str, Any]) -> Any:
    """List webhooks."""
    page = pagination.parse_page_request(query)
    return pagination.page_response(endpoints.list_page(request_session(), scope, page=page), query)


def rotate_secret(scope: WebhookScope, webhook_id: UUID) -> Any:
    """Rotate the secret of a webhook and return the new one."""
    result = endpoints.rotate_secret(
        request_session(),
        scope,
        webhook_id=webhook_id,
        now=clock.now(),
        services=current_services(),
    )
    return _with_secret(*result)


def send_test_event(scope: WebhookScope, webhook_id: UUID, *, base: str) -> Any:
    """Send a test event; `base` is the path of the webhooks."""
    row = deliveries.send_test_event(
        request_session(), scope, webhook_id=webhook_id, now=clock.now()
    )
    path = f"{base}/{webhook_id}/deliveries?event_id={row.event_id}"
    return accepted_response(row, pagination.public_url(path))


def list_deliveries(scope: WebhookScope, query: dict[str, Any], webhook_id: UUID) -> Any:
    """List deliveries of a webhook."""
    page = pagination.parse_page_request(query)
    deliveries_page = deliveries.list_page(
        request_session(), scope, webhook_id=webhook_id, page=page, **query
    )
    return pagination.page_response(deliveries_page, query)


def redeliver(scope: WebhookScope, webhook_id: UUID, delivery_id: UUID) -> Any:
    """Redeliver one event."""
    return deliveries.redeliver(
        request_session(), scope, webhook_id=webhook_id, delivery_id=delivery_id, now=clock.now()
    )


def redeliver_range(scope: WebhookScope, body: dict[str, Any], webhook_id: UUID) -> Any:
    """Redeliver the events of a time range."""
    rescheduled_count = deliveries.redeliver_range(
        request_session(), scope, webhook_id=webhook_id, now=clock.now(), **body
    )
    return {"deliveries": rescheduled_count}


def _with_secret(row: EndpointMixin, secret: str) -> dict[str, Any]:
    return {**WebhookSchema().dump(row), "secret": secret}
