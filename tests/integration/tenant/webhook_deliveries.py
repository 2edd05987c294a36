"""Helpers that list and retry the deliveries of a tenant's webhooks."""

from typing import Any

from tests.support.factories import Factory, Tenant

MAKE_DUE = "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'"
END_PAUSES = "UPDATE webhooks SET paused_until = NULL"


def retry_now(world: Factory, tenant: Tenant) -> None:
    """Make the next attempt now instead of at its scheduled time."""
    world.sql(tenant, MAKE_DUE)
    world.sql(tenant, END_PAUSES)
    world.run_jobs(tenant, include_scheduled=True)


def list_deliveries(tenant: Tenant, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    deliveries: list[dict[str, Any]] = tenant.get(
        f"/webhooks/{webhook['id']}/deliveries", **query
    ).json
    return deliveries
