"""What the operations of webhooks do, of tenants' and of the operator's: `routes` name them."""

from typing import Any
from uuid import UUID

from vca.kit import clock, http
from vca.kit.web import created, pages
from vca.kit.web.blueprint import accepted
from vca.kit.web.context import session
from vca.registry.webhooks import deliveries, endpoints
from vca.registry.webhooks.box import Box
from vca.registry.webhooks.columns import EndpointColumns
from vca.registry.webhooks.schemas import WebhookSchema


def create(box: Box, body: dict[str, Any], *, base: str) -> Any:
    """Register a webhook under the path `base`; opens its own transaction, after the look-up."""
    endpoints.check_url(body["url"], client=http.current())
    with box.open() as opened:
        shown = _with_secret(*endpoints.create(opened, box, **body))
    return created(shown, pages.public_path(f"{base}/{shown['id']}"))


def change(box: Box, body: dict[str, Any], webhook_id: UUID) -> Any:
    """Change a webhook; opens its own transaction, after the look-up."""
    if "url" in body:
        endpoints.check_url(body["url"], client=http.current())
    with box.open() as opened:
        return endpoints.change(opened, box, webhook_id=webhook_id, now=clock.now(), **body)


def list_page(box: Box, query: dict[str, Any]) -> Any:
    """List webhooks."""
    page = pages.requested(query)
    return pages.answer(endpoints.list_page(session(), box, page=page), query)


def rotate_secret(box: Box, webhook_id: UUID) -> Any:
    """Give a webhook a new secret, and show it."""
    found = endpoints.rotate_secret(session(), box, webhook_id=webhook_id, now=clock.now())
    return _with_secret(*found)


def test(box: Box, webhook_id: UUID, *, base: str) -> Any:
    """Order a test; `base` is the path of the webhooks."""
    row = deliveries.test(session(), box, webhook_id=webhook_id, now=clock.now())
    path = f"{base}/{webhook_id}/deliveries?event_id={row.event_id}"
    return accepted(row, pages.public_path(path))


def list_deliveries(box: Box, query: dict[str, Any], webhook_id: UUID) -> Any:
    """List what was sent."""
    page = pages.requested(query)
    found = deliveries.list_page(session(), box, webhook_id=webhook_id, page=page, **query)
    return pages.answer(found, query)


def replay(box: Box, webhook_id: UUID, delivery_id: UUID) -> Any:
    """Send one again."""
    return deliveries.replay(
        session(), box, webhook_id=webhook_id, delivery_id=delivery_id, now=clock.now()
    )


def replay_range(box: Box, body: dict[str, Any], webhook_id: UUID) -> Any:
    """Send many again."""
    armed = deliveries.replay_range(session(), box, webhook_id=webhook_id, now=clock.now(), **body)
    return {"deliveries": armed}


def _with_secret(row: EndpointColumns, secret: str) -> dict[str, Any]:
    return {**WebhookSchema().dump(row), "secret": secret}
