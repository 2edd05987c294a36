"""`/api/usage`: the monthly usage of all tenants."""

from collections.abc import Iterator
from typing import Any

from vca.kit import clock
from vca.kit.paging import Page
from vca.kit.web import Blueprint, access, csv_response, pagination
from vca.kit.web.context import request_session
from vca.registry.usage import periods
from vca.registry.usage.schemas import TenantUsageQuery, TenantUsageSchema

blp = Blueprint("all usage", __name__, description="Usage of all tenants, and its price.")

_CSV_COLUMNS = (
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
@blp.alt_response(200, **csv_response.RESPONSE)
@access("platform", "read", transaction="public")
def list_usage(query: dict[str, Any]) -> Any:
    """List usage by tenant

    Returns the usage of a month, ordered by tenant. Tenants without usage are left out. The CSV
    format has a line for each tenant and kind.
    """
    response_format = query.pop("format")
    query.setdefault("period", periods.month_of(clock.now()))
    page = periods.list_page(request_session(), page=pagination.parse_page_request(query), **query)
    if not csv_response.prefers_csv(response_format):
        return pagination.page_response(page, query)
    headers = pagination.page_response(page, query)[1] if page.next_after else None
    return csv_response.attachment("usage", _CSV_COLUMNS, _csv_rows(page), headers)


def _csv_rows(page: Page) -> Iterator[dict[str, Any]]:
    for tenant in TenantUsageSchema().dump(page.items, many=True):
        for kind in tenant["kinds"]:
            yield {**tenant, **kind}
