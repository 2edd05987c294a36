"""How much a tenant may use, as set by its plan or by the platform."""

from collections.abc import Mapping
from dataclasses import dataclass

from vca.registry.caps import CAPS

_simulated_tokens_per_day = 200_000


def set_simulated_tokens_per_day(tokens: int) -> None:
    """Set the limit of tenants for which the platform has set none."""
    global _simulated_tokens_per_day
    _simulated_tokens_per_day = tokens


@dataclass(frozen=True)
class Limits:
    """The limits in force; None means no limit."""

    concurrent_calls: int
    numbers: int
    tokens_per_day: int | None
    simulated_tokens_per_day: int


def simulated_tokens(overrides: Mapping[str, int]) -> int:
    """Return how many tokens a tenant's simulated calls may use in a day."""
    return overrides.get("simulated_tokens_per_day", _simulated_tokens_per_day)


def effective_limits(plan_limits: Mapping[str, int], overrides: Mapping[str, int]) -> Limits:
    """Return a tenant's limits; a value that the platform has set overrides the plan's."""
    return Limits(
        overrides.get("concurrent_calls", plan_limits["concurrent_calls"]),
        overrides.get("numbers", CAPS["numbers"].maximum),
        overrides.get("tokens_per_day"),
        simulated_tokens(overrides),
    )
