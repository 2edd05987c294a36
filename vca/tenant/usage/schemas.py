"""A tenant's use as the API shows it."""

from datetime import datetime, timedelta
from typing import Any

from marshmallow import fields

from vca.kit.errors import FieldError, InvalidInput
from vca.kit.web import Schema, csv_response
from vca.kit.web.schema import DateTime, string
from vca.registry.tenants.models import PLANS
from vca.registry.usage import periods
from vca.registry.usage.schemas import SumsSchema
from vca.tenant.usage.report import GROUPS, ReportRange

MAX_RANGE = timedelta(days=366)


class UsageQuery(Schema):
    """Which time, grouped by what, and in which form."""

    since = DateTime(data_key="from", metadata={"description": "Default: this month (UTC)."})
    until = DateTime(
        data_key="to",
        metadata={"description": "Up to but not at it. Default: the end of the month of `from`."},
    )
    group_by = string(1, 20, one_of=GROUPS, load_default="kind")
    format = csv_response.format_field()


def requested_range(query: dict[str, Any], *, now: datetime) -> ReportRange:
    """The time that is asked for; raises InvalidInput for one that is empty or over 366 days."""
    since = query.get("since") or periods.month_start(periods.month_of(now))
    until = query.get("until") or periods.month_start(periods.next_month(periods.month_of(since)))
    if not since < until <= since + MAX_RANGE:
        error = FieldError("/to", "Not after `from`, or more than 366 days after it.", "query")
        raise InvalidInput("The query is not valid.", errors=[error])
    return ReportRange(since, until)


class UsageGroupSchema(SumsSchema):
    """What was used of one kind on a day, at a number, or altogether."""

    day = fields.Date(
        dump_only=True,
        allow_none=True,
        metadata={"description": "UTC. Of `group_by=day` only.", "example": "2026-11-22"},
    )
    phone_number_id = fields.UUID(
        dump_only=True,
        allow_none=True,
        metadata={"description": "Of `group_by=phone_number` only; null: of no number."},
    )


class UsageSchema(Schema):
    """What a tenant used, and how it stands this month."""

    since = fields.AwareDateTime(data_key="from", dump_only=True)
    until = fields.AwareDateTime(data_key="to", dump_only=True)
    plan = string(1, 20, one_of=PLANS, dump_only=True)
    plan_version = fields.Integer(
        dump_only=True,
        metadata={"description": "The one in force; each fact was rated by the one of its time."},
    )
    currency = fields.String(dump_only=True, metadata={"example": "USD"})
    amount = fields.Integer(
        dump_only=True,
        metadata={"description": "In the minor unit of the currency, rounded up.", "example": 252},
    )
    amount_millionths = fields.Integer(
        dump_only=True,
        metadata={"description": "The sum of the groups', exactly.", "example": 252_000_000},
    )
    groups = fields.List(fields.Nested(UsageGroupSchema), dump_only=True)
    spend_cap = fields.Integer(dump_only=True, allow_none=True, metadata={"example": 20_000})
    spent = fields.Integer(
        dump_only=True,
        metadata={"description": "Of this month (UTC), which the cap is for.", "example": 252},
    )
    reserved = fields.Integer(
        dump_only=True,
        metadata={"description": "For the first minutes of the calls that are up.", "example": 12},
    )
