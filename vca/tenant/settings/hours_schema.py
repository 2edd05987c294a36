"""Opening hours as the API shows and takes them, for a tenant and for one number."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vca.kit.web import Schema
from vca.kit.web.schema import Pattern, text
from vca.tenant.settings import hours
from vca.tenant.settings.hours import CLOSED_ACTIONS, DAYS

_START = Pattern("^([01][0-9]|2[0-3]):[0-5][0-9]$", error="Not a time, as 09:00.")
_END = Pattern("^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", error="Not a time, as 17:00 or 24:00.")
_DATE = Pattern("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", error="Not a date, as 2026-12-25.")
_MOST_SPANS = 20
_MOST_HOLIDAYS = 400


def _real_date(value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValidationError("There is no such day.") from None


class SpanSchema(Schema):
    """From one time to another; an end that is not later is on the next day."""

    start = fields.String(
        data_key="from", required=True, validate=_START, metadata={"example": "09:00"}
    )
    end = fields.String(data_key="to", required=True, validate=_END, metadata={"example": "17:00"})

    @validates_schema
    def _is_not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if data["start"] == data["end"]:
            raise ValidationError({"to": ["Ends when it begins; all day is 00:00 to 24:00."]})

    @post_load
    def _as_kept(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"from": data["start"], "to": data["end"]}


def _spans() -> Any:
    return fields.List(fields.Nested(SpanSchema), validate=validate.Length(max=_MOST_SPANS))


class WeekSchema(Schema):
    """The spans of each day; what lies between two is a break, a day without any is closed."""

    monday = _spans()
    tuesday = _spans()
    wednesday = _spans()
    thursday = _spans()
    friday = _spans()
    saturday = _spans()
    sunday = _spans()

    @validates_schema
    def _spans_lie_apart(self, data: dict[str, Any], **_: Any) -> None:
        week = [data.get(day, []) for day in DAYS]
        _refuse_clashes(week, DAYS, around=True)


class HolidaySchema(Schema):
    """A day, in the tenant's zone, with hours of its own; without any it is closed."""

    date = fields.String(
        required=True, validate=[_DATE, _real_date], metadata={"example": "2026-12-25"}
    )
    name = text(1, 100, allow_none=True, metadata={"example": "Christmas"})
    open = _spans()

    @validates_schema
    def _spans_lie_apart(self, data: dict[str, Any], **_: Any) -> None:
        _refuse_clashes([data.get("open", [])], ["open"])


class HoursSchema(Schema):
    """When calls are answered, in the tenant's zone. An entry that is left out stays."""

    weekly = fields.Nested(
        WeekSchema,
        allow_none=True,
        metadata={"description": "null: at all times but for the holidays."},
    )
    holidays = fields.List(
        fields.Nested(HolidaySchema),
        allow_none=True,
        validate=validate.Length(max=_MOST_HOLIDAYS),
    )
    closed_action = text(
        1,
        20,
        one_of=CLOSED_ACTIONS,
        allow_none=True,
        metadata={
            "description": "`closed`: the sentence; `voicemail`; `forward`: to the number's "
            "`forward_to`, else its `fallback_number`. null: `closed`."
        },
    )

    @validates_schema
    def _days_differ(self, data: dict[str, Any], **_: Any) -> None:
        seen = set()
        for position, holiday in enumerate(data.get("holidays") or ()):
            if holiday["date"] in seen:
                message = {"date": ["Another holiday is on this day."]}
                raise ValidationError({"holidays": {position: message}})
            seen.add(holiday["date"])


def _refuse_clashes(
    days: list[list[dict[str, str]]], names: Sequence[str], *, around: bool = False
) -> None:
    spans = [[hours.span(each["from"], each["to"]) for each in day] for day in days]
    found: dict[str, dict[int, list[str]]] = {}
    for number, position in hours.clashes(spans, around=around):
        found.setdefault(names[number], {})[position] = ["Overlaps another span."]
    if found:
        raise ValidationError(found)
