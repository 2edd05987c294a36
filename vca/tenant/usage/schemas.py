"""Request and response schemas of usage."""

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
    """The time range, grouping and format of a usage report."""

    since = DateTime(
        data_key="from",
        metadata={
            "description": "Start of the time range. Default: the start of this month (UTC)."
        },
    )
    until = DateTime(
        data_key="to",
        metadata={
            "description": "End of the time range, exclusive. Default: the end of the month of "
            "`from`."
        },
    )
    group_by = string(1, 20, one_of=GROUPS, load_default="kind")
    format = csv_response.format_field()


def requested_range(query: dict[str, Any], *, now: datetime) -> ReportRange:
    """Return the requested time range. Raise InvalidInput if it is empty or exceeds 366 days."""
    since = query.get("since") or periods.month_start(periods.month_of(now))
    until = query.get("until") or periods.month_start(periods.next_month(periods.month_of(since)))
    if not since < until <= since + MAX_RANGE:
        error = FieldError("/to", "Must be after `from` and at most 366 days later.", "query")
        raise InvalidInput("The query is not valid.", errors=[error])
    return ReportRange(since, until)


class UsageGroupSchema(SumsSchema):
    """The usage of one kind: on a day, of a phone number, or in total."""

    day = fields.Date(
        dump_only=True,
        allow_none=True,
        metadata={"description": "Day in UTC. Only with `group_by=day`.", "example": "2026-11-22"},
    )
    phone_number_id = fields.UUID(
        dump_only=True,
        allow_none=True,
        metadata={
            "description": "Only with `group_by=phone_number`. null: usage without a phone number."
        },
    )


class UsageSchema(Schema):
    """A tenant's usage in a time range, and its spending of this month."""

    since = fields.AwareDateTime(data_key="from", dump_only=True)
    until = fields.AwareDateTime(data_key="to", dump_only=True)
    plan = string(1, 20, one_of=PLANS, dump_only=True)
    plan_version = fields.Integer(
        dump_only=True,
        metadata={
            "description": "The version in force. Past usage was rated by the version of its time."
        },
    )
    currency = fields.String(dump_only=True, metadata={"example": "USD"})
    amount = fields.Integer(
        dump_only=True,
        metadata={
            "description": "Amount in the minor unit of the currency, rounded up.",
            "example": 252,
        },
    )
    amount_millionths = fields.Integer(
        dump_only=True,
        metadata={
            "description": "Exact sum of the groups, in millionths of the minor unit.",
            "example": 252_000_000,
        },
    )
    groups = fields.List(fields.Nested(UsageGroupSchema), dump_only=True)
    spend_cap = fields.Integer(dump_only=True, allow_none=True, metadata={"example": 20_000})
    spent = fields.Integer(
        dump_only=True,
        metadata={
            "description": "Spending of this month (UTC), to which the cap applies.",
            "example": 252,
        },
    )
    reserved = fields.Integer(
        dump_only=True,
        metadata={"description": "Reserved for the first minutes of live calls.", "example": 12},
    )
