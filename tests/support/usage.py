"""Record usage of a tenant, and read its ledger."""

from collections import defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.kit import clock
from vca.tenancy.session import tenant_session
from vca.tenant.usage import ledger
from vca.tenant.usage.ledger import Fact


def usage_facts(tenant: Tenant) -> list[dict[str, Any]]:
    """Return every fact of the tenant, ordered by key."""
    with admin_db.tenant_session(tenant.ref) as session:
        rows = session.execute(text("SELECT * FROM usage_facts ORDER BY key"))
        return [dict(row._mapping) for row in rows]


def total_quantities(tenant: Tenant) -> dict[str, int]:
    """Return the quantity of each kind, for call seconds by leg. Reverted usage is omitted."""
    totals: dict[str, int] = defaultdict(int)
    for fact in usage_facts(tenant):
        totals[fact["leg"] or fact["kind"]] += fact["quantity"]
    return {name: quantity for name, quantity in totals.items() if quantity}


def record_usage(
    tenant: Tenant,
    quantity: int,
    *,
    kind: str = "call_seconds",
    key: str | None = None,
    used_at: datetime | None = None,
    phone_number_id: UUID | None = None,
) -> Fact:
    """Record usage of a tenant."""
    fact = Fact(
        key or f"test:{uuid4()}",
        kind,
        quantity,
        used_at or clock.now(),
        phone_number_id=phone_number_id,
    )
    with tenant_session(tenant.ref, database=app_services().database) as session:
        ledger.record_facts(session, fact)
    return fact


def reported_usage(tenant: Tenant, kind: str) -> tuple[int, int, int]:
    """Return (quantity, included, millionths) of a kind this month, from the API."""
    for group in tenant.get("/usage").json["groups"]:
        if group["kind"] == kind:
            return group["quantity"], group["included"], group["amount_millionths"]
    return 0, 0, 0
