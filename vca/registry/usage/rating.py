"""What things cost: pure, and in integers only.

Money is counted in millionths of the currency's minor unit, called millionths here: 12 cents are
12,000,000. A fact's amount is rounded up to a whole one, each fact by itself; sums are exact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = (
    "call_seconds",
    "model_input_tokens",
    "model_output_tokens",
    "speech_seconds",
    "speech_characters",
    "recording_byte_days",
    "number_days",
)
MILLIONTHS = 1_000_000


@dataclass(frozen=True)
class Price:
    """`price` millionths for `per` units."""

    price: int
    per: int

    def of(self, quantity: int) -> int:
        """Millionths for so many units, rounded up."""
        return -(-quantity * self.price // self.per)


FREE = Price(0, 1)


@dataclass(frozen=True)
class Plan:
    """A version of a plan; `included` is what a month holds of each kind before it costs."""

    name: str
    version: int
    currency: str
    included: Mapping[str, int]
    prices: Mapping[str, Price]


@dataclass(frozen=True)
class Used:
    """What was used of one kind: units, those of them that were included, and millionths."""

    quantity: int = 0
    included: int = 0
    amount: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.quantity + other.quantity,
            self.included + other.included,
            self.amount + other.amount,
        )

    def __neg__(self) -> "Used":
        return Used(-self.quantity, -self.included, -self.amount)

    @property
    def billable(self) -> int:
        return self.quantity - self.included


NOTHING = Used()


def plan_of(name: str, version: int, document: Mapping[str, Any]) -> Plan:
    """A plan as it is kept."""
    prices = {kind: Price(**price) for kind, price in document["prices"].items()}
    return Plan(name, version, document["currency"], document["included"], prices)


def rate(plan: Plan, kind: str, quantity: int, *, used: Used) -> Used:
    """What so many units cost after what was `used`: first of what the plan includes is left."""
    left = max(0, plan.included.get(kind, 0) - used.included)
    included = min(quantity, left)
    price = plan.prices.get(kind, FREE)
    return Used(quantity, included, price.of(quantity - included))


def minor(millionths: int) -> int:
    """Whole minor units, rounded up: what is shown and charged of a sum."""
    return -(-millionths // MILLIONTHS)


def total(amounts: Iterable[Used]) -> int:
    """Millionths altogether."""
    return sum(each.amount for each in amounts)
