"""HTTP route of `/tenants/{tenant_id}/usage`."""

from typing import Any
from uuid import UUID

from vca.kit import clock
from vca.kit.web import Blueprint, access, csv_response
from vca.kit.web.context import request_session
from vca.services import current_services
from vca.tenant.usage import report
from vca.tenant.usage.schemas import UsageQuery, UsageSchema, requested_range

blp = Blueprint("usage", __name__, description="A tenant's usage and its cost.")

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
    """Get usage

    Usage has seconds of each leg of a call, tokens of the model, characters that agents spoke, and
    recordings (byte-days) and phone numbers (days). Usage by the day is added when the month has
    ended, or when the recording or number is deleted. Simulated calls use `simulated_tokens` only,
    which cost nothing unless the plan has a price for them. The CSV format has one line for each
    item of `groups`.
    """
    now = clock.now()
    time_range = requested_range(query, now=now)
    usage_report = report.build_report(
        request_session(),
        time_range=time_range,
        group_by=query["group_by"],
        now=now,
        services=current_services(),
    )
    if not csv_response.prefers_csv(query["format"]):
        return usage_report
    csv_rows = ({**group, "currency": usage_report["currency"]} for group in usage_report["groups"])
    return csv_response.attachment("usage", _COLUMNS, csv_rows)
