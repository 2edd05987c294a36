"""Pure functions that calculate prices, in integers only.

Amounts are millionths of the currency's minor unit: 12 cents are 12,000,000 millionths. The amount
of each fact is rounded up to a whole millionth. Sums are exact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = (
    "call_seconds",
    "model_input_tokens",
    "model_output_tokens",
    "simulated_tokens",
    "speech_seconds",
    "speech_characters",
    "recording_byte_days",
    "number_days",
)
MILLIONTHS = 1_000_000


@dataclass(frozen=True)
class Price:
    """A price of `price` millionths for `per` units."""

    price: int
    per: int

    def amount_for(self, quantity: int) -> int:
        """Return the amount for a quantity in millionths, rounded up."""
        return -(-quantity * self.price // self.per)


FREE = Price(0, 1)


@dataclass(frozen=True)
class Plan:
    """A version of a plan; `included` is the free quantity of each kind per month."""

    name: str
    version: int
    currency: str
    included: Mapping[str, int]
    prices: Mapping[str, Price]


@dataclass(frozen=True)
class UsageAmount:
    """Usage of one kind: units, included units of those, and the amount in millionths."""

    quantity: int = 0
    included: int = 0
    amount: int = 0

    def __add__(self, other: "UsageAmount") -> "UsageAmount":
        return UsageAmount(
            self.quantity + other.quantity,
            self.included + other.included,
            self.amount + other.amount,
        )

    def __neg__(self) -> "UsageAmount":
        return UsageAmount(-self.quantity, -self.included, -self.amount)

    @property
    def billable(self) -> int:
        """The quantity beyond the included one."""
        return self.quantity - self.included


NO_USAGE = UsageAmount()


def parse_plan(name: str, version: int, document: Mapping[str, Any]) -> Plan:
    """Parse a stored plan version."""
    prices = {kind: Price(**price) for kind, price in document["prices"].items()}
    return Plan(name, version, document["currency"], document["included"], prices)


def rate(plan: Plan, kind: str, quantity: int, *, previous_usage: UsageAmount) -> UsageAmount:
    """Return the price of a quantity after `previous_usage`; included units are used first."""
    included_left = max(0, plan.included.get(kind, 0) - previous_usage.included)
    included = min(quantity, included_left)
    price = plan.prices.get(kind, FREE)
    return UsageAmount(quantity, included, price.amount_for(quantity - included))


def to_minor_units(millionths: int) -> int:
    """Return an amount in whole minor units, rounded up, to show and to charge."""
    return -(-millionths // MILLIONTHS)


def total_amount(amounts: Iterable[UsageAmount]) -> int:
    """Return the sum of the amounts in millionths."""
    return sum(usage.amount for usage in amounts)
