"""`T/usage`."""

from typing import Any
from uuid import UUID

from vca.kit import clock
from vca.kit.web import Blueprint, access, csv_response
from vca.kit.web.context import request_session
from vca.tenant.usage import report
from vca.tenant.usage.schemas import UsageQuery, UsageSchema, requested_range

blp = Blueprint("usage", __name__, description="What a tenant uses, and what it costs.")

_COLUMNS = (
    "kind",
    "day",
    "phone_number_id",
    "quantity",
    "included",
    "billable",
    "amount",
    "amount_millionths",
    "currency",
)


@blp.route("/api/tenants/<uuid:tenant_id>/usage", methods=["GET"])
@blp.arguments(UsageQuery, location="query")
@blp.response(200, UsageSchema)
@blp.alt_response(200, **csv_response.RESPONSE)
@access("tenant", "read", transaction="tenant")
def get_usage(query: dict[str, Any], tenant_id: UUID) -> Any:
    """Show what a tenant used, and what it costs

    Seconds of each leg of its calls, the model's tokens, characters that agents spoke, bytes of
    recordings by the day, numbers by the day. What is counted by the day is added when the month
    is over, or when the recording or number is gone. Simulated calls use nothing. As CSV it is a
    line for each of `groups`.
    """
    now = clock.now()
    time_range = requested_range(query, now=now)
    usage_report = report.build_report(
        request_session(), time_range=time_range, group_by=query["group_by"], now=now
    )
    if not csv_response.prefers_csv(query["format"]):
        return usage_report
    csv_rows = ({**group, "currency": usage_report["currency"]} for group in usage_report["groups"])
    return csv_response.attachment("usage", _COLUMNS, csv_rows)
