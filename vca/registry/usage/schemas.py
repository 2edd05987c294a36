"""Use and its price as the API shows them, and plans as operators write them."""

import re
from datetime import date
from typing import Any

from marshmallow import ValidationError, fields

from vca.kit.web import PageQuery, Schema, sheets
from vca.kit.web.schema import Moment, Pattern, Uuid, text, whole
from vca.registry.tenants.models import PLANS
from vca.registry.usage import periods
from vca.registry.usage.models import UsagePeriod
from vca.registry.usage.rating import KINDS, Used, minor

_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])", re.ASCII)
_MOST = 10**15
_MILLIONTHS = {"description": "The same, exactly: in millionths of the minor unit. These add up."}


class Month(fields.String):
    """A month as 2026-11; loaded as its first day."""

    def __init__(self, **options: Any) -> None:
        described = {"example": "2026-11", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])$"}
        super().__init__(metadata={**described, **options.pop("metadata", {})}, **options)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        found = _MONTH.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValidationError("Not a month, as 2026-11.")
        return date(int(found[1]), int(found[2]), 1)


class SumsSchema(Schema):
    """What was used of one kind."""

    kind = text(1, 40, one_of=KINDS, dump_only=True)
    quantity = fields.Integer(dump_only=True, metadata={"example": 7_260})
    included = fields.Integer(
        dump_only=True,
        metadata={"description": "Units that the plan includes.", "example": 6_000},
    )
    billable = fields.Integer(dump_only=True, metadata={"example": 1_260})
    amount = fields.Integer(
        dump_only=True,
        metadata={"description": "In the minor unit of the currency, rounded up.", "example": 252},
    )
    amount_millionths = fields.Integer(
        dump_only=True, metadata={**_MILLIONTHS, "example": 252_000_000}
    )


def sums(kind: str, used: Used) -> dict[str, Any]:
    """What was used of a kind, as `SumsSchema` shows it."""
    return {
        "kind": kind,
        "quantity": used.quantity,
        "included": used.included,
        "billable": used.billable,
        "amount": minor(used.amount),
        "amount_millionths": used.amount,
    }


def _kinds(row: UsagePeriod) -> list[dict[str, Any]]:
    used = periods.read(row.kinds)
    return [sums(kind, used[kind]) for kind in KINDS if kind in used]


class TenantUsageSchema(Schema):
    """What a tenant has used in a month."""

    tenant_id = fields.UUID(dump_only=True)
    period = Month(dump_only=True)
    currency = fields.String(dump_only=True, metadata={"example": "USD"})
    amount = fields.Integer(
        dump_only=True,
        metadata={"description": "In the minor unit of the currency, rounded up.", "example": 252},
    )
    amount_millionths = fields.Integer(
        dump_only=True, metadata={**_MILLIONTHS, "example": 252_000_000}
    )
    kinds = fields.List(fields.Nested(SumsSchema), dump_only=True)
    updated_at = fields.AwareDateTime(dump_only=True)

    computed = {
        "period": lambda row: periods.name(row.period),
        "amount": lambda row: minor(row.amount),
        "amount_millionths": lambda row: row.amount,
        "kinds": _kinds,
    }


class TenantUsageQuery(PageQuery):
    """Which month's use, and in which form."""

    period = Month(metadata={"description": "A month in UTC. Default: the present one."})
    tenant_id = Uuid()
    format = sheets.asked()


class PriceSchema(Schema):
    """So much for so many units."""

    price = whole(
        0, _MOST, required=True, metadata={"description": "Millionths of the minor unit."}
    )
    per = whole(1, _MOST, required=True)


class PlanLimitsSchema(Schema):
    """How much a tenant of the plan may use at once."""

    concurrent_calls = whole(1, 10_000, required=True)


class PlanVersionSchema(Schema):
    """A version of a plan, from a moment on."""

    plan = text(1, 20, one_of=PLANS, required=True)
    version = fields.Integer(dump_only=True)
    valid_from = Moment(required=True)
    currency = fields.String(
        required=True, validate=Pattern("^[A-Z]{3}$", error="Not ISO 4217, as USD.")
    )
    limits = fields.Nested(PlanLimitsSchema, required=True)
    included = fields.Dict(
        keys=text(1, 40, one_of=KINDS), values=whole(0, _MOST), load_default=dict
    )
    prices = fields.Dict(
        keys=text(1, 40, one_of=KINDS), values=fields.Nested(PriceSchema), required=True
    )
