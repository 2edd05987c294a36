"""Request and response schemas of usage and plans."""

import re
from datetime import date
from typing import Any

from marshmallow import ValidationError, fields

from vca.kit.web import PageQuery, Schema, csv_response
from vca.kit.web.schema import DateTime, Pattern, Uuid, integer, string
from vca.registry.tenants.models import PLANS
from vca.registry.usage import periods
from vca.registry.usage.models import UsagePeriod
from vca.registry.usage.rating import KINDS, UsageAmount, to_minor_units

_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])", re.ASCII)
_MAX_VALUE = 10**15
_MILLIONTHS_METADATA = {
    "description": "The exact amount in millionths of the minor unit. Add these up, not `amount`."
}


class MonthField(fields.String):
    """A month such as 2026-11; loaded as its first day."""

    def __init__(self, **options: Any) -> None:
        default_metadata = {"example": "2026-11", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])$"}
        super().__init__(metadata={**default_metadata, **options.pop("metadata", {})}, **options)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        match = _MONTH.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValidationError("Not a valid month, such as 2026-11.")
        return date(int(match[1]), int(match[2]), 1)


class SumsSchema(Schema):
    """The usage of one kind."""

    kind = string(1, 40, one_of=KINDS, dump_only=True)
    quantity = fields.Integer(dump_only=True, metadata={"example": 7_260})
    included = fields.Integer(
        dump_only=True,
        metadata={"description": "Units included in the plan.", "example": 6_000},
    )
    billable = fields.Integer(dump_only=True, metadata={"example": 1_260})
    amount = fields.Integer(
        dump_only=True,
        metadata={
            "description": "The amount in the minor unit of the currency, rounded up.",
            "example": 252,
        },
    )
    amount_millionths = fields.Integer(
        dump_only=True, metadata={**_MILLIONTHS_METADATA, "example": 252_000_000}
    )


def usage_document(kind: str, usage: UsageAmount) -> dict[str, Any]:
    """Return the usage of a kind in the form of `SumsSchema`."""
    return {
        "kind": kind,
        "quantity": usage.quantity,
        "included": usage.included,
        "billable": usage.billable,
        "amount": to_minor_units(usage.amount),
        "amount_millionths": usage.amount,
    }


def _kind_documents(row: UsagePeriod) -> list[dict[str, Any]]:
    usage_by_kind = periods.parse_sums(row.kinds)
    return [usage_document(kind, usage_by_kind[kind]) for kind in KINDS if kind in usage_by_kind]


class TenantUsageSchema(Schema):
    """The usage of a tenant in a month."""

    tenant_id = fields.UUID(dump_only=True)
    period = MonthField(dump_only=True)
    currency = fields.String(dump_only=True, metadata={"example": "USD"})
    amount = fields.Integer(
        dump_only=True,
        metadata={
            "description": "The amount in the minor unit of the currency, rounded up.",
            "example": 252,
        },
    )
    amount_millionths = fields.Integer(
        dump_only=True, metadata={**_MILLIONTHS_METADATA, "example": 252_000_000}
    )
    kinds = fields.List(fields.Nested(SumsSchema), dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)

    computed = {
        "period": lambda row: periods.format_month(row.period),
        "amount": lambda row: to_minor_units(row.amount),
        "amount_millionths": lambda row: row.amount,
        "kinds": _kind_documents,
    }


class TenantUsageQuery(PageQuery):
    """Query parameters for usage: the month and the format."""

    period = MonthField(metadata={"description": "A month in UTC. Default: the current month."})
    tenant_id = Uuid()
    format = csv_response.format_field()


class PriceSchema(Schema):
    """A price for a number of units."""

    price = integer(
        0,
        _MAX_VALUE,
        required=True,
        metadata={"description": "The price in millionths of the minor unit."},
    )
    per = integer(1, _MAX_VALUE, required=True)


class PlanLimitsSchema(Schema):
    """Concurrency limits of a plan's tenants."""

    concurrent_calls = integer(1, 10_000, required=True)


class PlanVersionSchema(Schema):
    """A version of a plan, valid from a given time."""

    plan = string(1, 20, one_of=PLANS, required=True)
    version = fields.Integer(dump_only=True)
    valid_from = DateTime(required=True)
    currency = fields.String(
        required=True, validate=Pattern("^[A-Z]{3}$", error="Not an ISO 4217 code, such as USD.")
    )
    limits = fields.Nested(PlanLimitsSchema, required=True)
    included = fields.Dict(
        keys=string(1, 40, one_of=KINDS), values=integer(0, _MAX_VALUE), load_default=dict
    )
    prices = fields.Dict(
        keys=string(1, 40, one_of=KINDS), values=fields.Nested(PriceSchema), required=True
    )
