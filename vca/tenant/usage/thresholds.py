"""When a month's use comes to 50, 80 and 100 percent of what it may be: told once each. Pure."""

from collections.abc import Iterator
from typing import Literal

from vca.registry.usage import periods
from vca.registry.usage.periods import UsageMonth
from vca.registry.usage.rating import MILLIONTHS, to_minor_units
from vca.tenant.webhooks.events import Event

PERCENTS = (50, 80, 100)
THRESHOLD_REACHED = "usage.threshold_reached"
ThresholdMeasure = Literal["spend_cap", "included_seconds"]


def newly_reached(month: UsageMonth, *, spend_cap: int | None) -> Iterator[tuple[str, Event]]:
    """(name, event) of each threshold that the month has reached and nobody was told of.

    `spend_cap` is in minor units; None: there is none.
    """
    if spend_cap is not None:
        spent, cap = month.amount, spend_cap * MILLIONTHS
        yield from _reached_thresholds(
            month, "spend_cap", spent, cap, to_minor_units(spent), spend_cap
        )
    included = month.plan.included.get("call_seconds", 0)
    if included:
        used = month.usage_of("call_seconds").quantity
        yield from _reached_thresholds(month, "included_seconds", used, included, used, included)


def _reached_thresholds(
    month: UsageMonth,
    measure: ThresholdMeasure,
    used: int,
    limit: int,
    display_used: int,
    display_limit: int,
) -> Iterator[tuple[str, Event]]:
    """Compared exactly, shown in the measure's own units."""
    for percent in PERCENTS:
        threshold_name = f"{measure}:{percent}"
        if used * 100 >= limit * percent and threshold_name not in month.notified_thresholds:
            data = {
                "period": periods.format_month(month.period),
                "measure": measure,
                "percent": percent,
                "used": display_used,
                "limit": display_limit,
                "currency": month.plan.currency,
            }
            yield threshold_name, Event(THRESHOLD_REACHED, data)
