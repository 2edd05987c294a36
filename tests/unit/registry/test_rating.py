"""Tests of rating: exact sums, rounding of each usage fact, and included units."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vca.registry.usage import periods
from vca.registry.usage.rating import NO_USAGE, Plan, Price, UsageAmount, rate, to_minor_units
from vca.tenant.usage import calendar_days

PLAN = Plan("starter", 1, "USD", {"call_seconds": 100}, {"call_seconds": Price(12_000_000, 60)})
_PRICES = st.builds(Price, st.integers(0, 10**9), st.integers(1, 10**9))
_QUANTITIES = st.lists(st.integers(1, 10**6), max_size=30)


def test_a_price_per_minute_is_charged_per_second() -> None:
    assert Price(12_000_000, 60).amount_for(1) == 200_000
    assert to_minor_units(200_000) == 1
    assert to_minor_units(1_000_000) == 1
    assert to_minor_units(0) == 0


def test_included_units_are_used_before_billable_ones() -> None:
    first = rate(PLAN, "call_seconds", 90, previous_usage=NO_USAGE)
    second = rate(PLAN, "call_seconds", 30, previous_usage=first)

    assert first == UsageAmount(90, 90, 0)
    assert second == UsageAmount(30, 10, 20 * 200_000)
    assert second.billable == 20


def test_usage_without_a_price_in_the_plan_is_free() -> None:
    assert rate(PLAN, "number_days", 30, previous_usage=NO_USAGE) == UsageAmount(30, 0, 0)


@given(_PRICES, st.integers(0, 10**6), _QUANTITIES)
def test_any_split_of_usage_counts_each_unit_once_and_bills_the_excess(
    price: Price, included: int, quantities: list[int]
) -> None:
    plan = Plan("starter", 1, "USD", {"call_seconds": included}, {"call_seconds": price})
    usage = NO_USAGE
    for quantity in quantities:
        usage += rate(plan, "call_seconds", quantity, previous_usage=usage)

    assert usage.quantity == sum(quantities)
    assert usage.included == min(included, sum(quantities))
    exact_amount = usage.billable * price.price
    assert exact_amount <= usage.amount * price.per < exact_amount + len(quantities) * price.per + 1


@given(st.lists(st.builds(UsageAmount, *[st.integers(0, 10**9)] * 3)))
def test_facts_and_their_reversals_add_up_to_exactly_zero(
    facts: list[UsageAmount],
) -> None:
    usage = NO_USAGE
    for fact in facts:
        usage += fact
    for fact in reversed(facts):
        usage += -fact

    assert usage == NO_USAGE


# --- Months and days -------------------------------------------------------------------------


def test_months_are_calculated_in_utc() -> None:
    assert periods.month_of(datetime.fromisoformat("2026-12-01T00:30:00+02:00")) == date(
        2026, 11, 1
    )
    assert periods.next_month(date(2026, 12, 1)) == date(2027, 1, 1)
    assert periods.previous_month(date(2027, 1, 1)) == date(2026, 12, 1)
    assert periods.previous_month(date(2026, 3, 1)) == date(2026, 2, 1)
    assert periods.parse_month(periods.format_month(date(2026, 2, 1))) == date(2026, 2, 1)


@pytest.mark.parametrize(
    ("since", "until", "days_in_february"),
    [
        ("2026-01-10T12:00:00Z", None, 28),
        ("2026-02-28T23:59:59Z", None, 1),
        ("2026-02-10T00:00:00Z", "2026-02-10T00:00:01Z", 1),
        ("2026-02-10T23:00:00Z", "2026-02-11T01:00:00Z", 2),
        ("2026-01-10T00:00:00Z", "2026-03-05T00:00:00Z", 28),
        ("2026-03-01T00:00:00Z", None, 0),
        ("2026-01-10T00:00:00Z", "2026-01-31T23:59:59Z", 0),
    ],
)
def test_each_day_of_use_counts_as_a_whole_day(
    since: str, until: str | None, days_in_february: int
) -> None:
    ended_at = datetime.fromisoformat(until) if until else None

    days = calendar_days.count_days(
        date(2026, 2, 1), since=datetime.fromisoformat(since), until=ended_at
    )

    assert days == days_in_february
    assert calendar_days.period_end(date(2026, 2, 1)) == datetime(2026, 3, 1, tzinfo=UTC)
