"""Usage thresholds of a month: 50, 80 and 100 percent, each reported once. Pure functions."""

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
    """Yield (name, event) for each threshold that is reached and was not reported yet.

    `spend_cap` is in minor units; None means that there is no cap.
    """
    if spend_cap is not None:
        amount, cap = month.amount, spend_cap * MILLIONTHS
        yield from _reached_thresholds(
            month, "spend_cap", amount, cap, to_minor_units(amount), spend_cap
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
    """Yield the reached thresholds of one measure.

    `used` and `limit` are exact and compared, `display_used` and `display_limit` are reported.
    """
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
