"""`/api/usage`: what all tenants have used of a month."""

from collections.abc import Iterator
from typing import Any

from vca.kit import clock
from vca.kit.paging import Page
from vca.kit.web import Blueprint, access, pages, sheets
from vca.kit.web.context import session
from vca.registry.usage import periods
from vca.registry.usage.schemas import TenantUsageQuery, TenantUsageSchema

blp = Blueprint("all usage", __name__, description="What tenants have used, and what it costs.")

_COLUMNS = (
    "tenant_id",
    "period",
    "currency",
    "kind",
    "quantity",
    "included",
    "billable",
    "amount",
    "amount_millionths",
)


@blp.route("/api/usage", methods=["GET"])
@blp.arguments(TenantUsageQuery, location="query")
@blp.response(200, TenantUsageSchema(many=True))
@blp.alt_response(200, **sheets.RESPONSE)
@access("platform", "read", opens="public")
def list_usage(query: dict[str, Any]) -> Any:
    """List what tenants have used in a month, by tenant

    Tenants that have used nothing in it are not in the list. As CSV it is a line for each tenant
    and kind.
    """
    form = query.pop("format")
    query.setdefault("period", periods.of(clock.now()))
    found = periods.list_page(session(), page=pages.requested(query), **query)
    if not sheets.wanted(form):
        return pages.answer(found, query)
    headers = pages.answer(found, query)[1] if found.next_after else None
    return sheets.answer("usage", _COLUMNS, _lines(found), headers)


def _lines(page: Page) -> Iterator[dict[str, Any]]:
    for tenant in TenantUsageSchema().dump(page.items, many=True):
        for kind in tenant["kinds"]:
            yield {**tenant, **kind}
