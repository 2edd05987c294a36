"""When a month's use comes to 50, 80 and 100 percent of what it may be: told once each. Pure."""

from collections.abc import Iterator
from typing import Literal

from vca.registry.usage import periods
from vca.registry.usage.periods import Month
from vca.registry.usage.rating import MILLIONTHS, minor
from vca.tenant.webhooks.events import Event

PERCENTS = (50, 80, 100)
REACHED = "usage.threshold_reached"
Measure = Literal["spend_cap", "included_seconds"]


def reached(month: Month, *, spend_cap: int | None) -> Iterator[tuple[str, Event]]:
    """(name, event) of each threshold that the month has reached and nobody was told of.

    `spend_cap` is in minor units; None: there is none.
    """
    if spend_cap is not None:
        spent, cap = month.amount, spend_cap * MILLIONTHS
        yield from _reached(month, "spend_cap", spent, cap, minor(spent), spend_cap)
    included = month.plan.included.get("call_seconds", 0)
    if included:
        used = month.used("call_seconds").quantity
        yield from _reached(month, "included_seconds", used, included, used, included)


def _reached(
    month: Month, measure: Measure, used: int, limit: int, shown: int, shown_limit: int
) -> Iterator[tuple[str, Event]]:
    """Compared exactly, shown in the measure's own units."""
    for percent in PERCENTS:
        name = f"{measure}:{percent}"
        if used * 100 >= limit * percent and name not in month.told:
            data = {
                "period": periods.name(month.period),
                "measure": measure,
                "percent": percent,
                "used": shown,
                "limit": shown_limit,
                "currency": month.plan.currency,
            }
            yield name, Event(REACHED, data)
