"""Schemas of opening hours, for a tenant and for a single number."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vca.kit.web import Schema
from vca.kit.web.schema import Pattern, string
from vca.tenant.settings import hours
from vca.tenant.settings.hours import CLOSED_ACTIONS, DAYS

_START = Pattern(
    "^([01][0-9]|2[0-3]):[0-5][0-9]$", error="Not a valid time. Use a time such as 09:00."
)
_END = Pattern(
    "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
    error="Not a valid time. Use a time such as 17:00 or 24:00.",
)
_DATE = Pattern(
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", error="Not a valid date. Use a date such as 2026-12-25."
)
_MAX_SPANS = 20
_MAX_HOLIDAYS = 400


def _validate_date(value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValidationError("This date does not exist.") from None


class SpanSchema(Schema):
    """A range of time; it ends on the next day if the end is not later than the start."""

    start = fields.String(
        data_key="from", required=True, validate=_START, metadata={"example": "09:00"}
    )
    end = fields.String(
        data_key="to",
        required=True,
        validate=_END,
        metadata={
            "description": "The first minute that is closed again. 24:00 is the end of the day; "
            "with 23:59 its last minute is closed.",
            "example": "17:00",
        },
    )

    @validates_schema
    def _validate_not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if data["start"] == data["end"]:
            raise ValidationError(
                {"to": ["The end equals the start. For the whole day use 00:00 to 24:00."]}
            )

    @post_load
    def _to_stored(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"from": data["start"], "to": data["end"]}


def _spans_field() -> Any:
    return fields.List(fields.Nested(SpanSchema), validate=validate.Length(max=_MAX_SPANS))


class WeekSchema(Schema):
    """The spans of each weekday; a day without spans is closed."""

    monday = _spans_field()
    tuesday = _spans_field()
    wednesday = _spans_field()
    thursday = _spans_field()
    friday = _spans_field()
    saturday = _spans_field()
    sunday = _spans_field()

    @validates_schema
    def _validate_no_overlap(self, data: dict[str, Any], **_: Any) -> None:
        week = [data.get(day, []) for day in DAYS]
        _raise_on_overlap(week, DAYS, is_week=True)


class HolidaySchema(Schema):
    """A date with its own hours, in the tenant's time zone; it is closed without spans."""

    date = fields.String(
        required=True, validate=[_DATE, _validate_date], metadata={"example": "2026-12-25"}
    )
    name = string(1, 100, allow_none=True, metadata={"example": "Christmas"})
    open = _spans_field()

    @validates_schema
    def _validate_no_overlap(self, data: dict[str, Any], **_: Any) -> None:
        _raise_on_overlap([data.get("open", [])], ["open"])


class HoursSchema(Schema):
    """When calls are answered, in the tenant's time zone. Omitted entries keep their value."""

    weekly = fields.Nested(
        WeekSchema,
        allow_none=True,
        metadata={
            "description": "Spans of each weekday. null means at all times except on holidays."
        },
    )
    holidays = fields.List(
        fields.Nested(HolidaySchema),
        allow_none=True,
        validate=validate.Length(max=_MAX_HOLIDAYS),
    )
    closed_action = string(
        1,
        20,
        one_of=CLOSED_ACTIONS,
        allow_none=True,
        metadata={
            "description": "What happens outside the hours. `closed` plays the sentence, "
            "`voicemail` records a message, `forward` dials the number's `forward_to` or else its "
            "`fallback_number`. null means `closed`."
        },
    )

    @validates_schema
    def _validate_unique_dates(self, data: dict[str, Any], **_: Any) -> None:
        dates = set()
        for position, holiday in enumerate(data.get("holidays") or ()):
            if holiday["date"] in dates:
                message = {"date": ["Another holiday has this date."]}
                raise ValidationError({"holidays": {position: message}})
            dates.add(holiday["date"])


def _raise_on_overlap(
    days: list[list[dict[str, str]]], names: Sequence[str], *, is_week: bool = False
) -> None:
    spans = [[hours.parse_span(span["from"], span["to"]) for span in day] for day in days]
    errors: dict[str, dict[int, list[str]]] = {}
    for number, position in hours.find_overlaps(spans, is_week=is_week):
        errors.setdefault(names[number], {})[position] = ["Overlaps another span."]
    if errors:
        raise ValidationError(errors)
