"""How much a tenant may use, as set by its plan or by the platform."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vca.registry.caps import CAPS
from vca.services import Services

# The entries of `limits.dialling`; None means no ceiling.
DIALLING_LIMITS = ("countries", "per_minute", "per_day")


@dataclass(frozen=True)
class Limits:
    """The limits in force; None means no limit."""

    concurrent_calls: int
    numbers: int
    tokens_per_day: int | None
    simulated_tokens_per_day: int
    dialling: Mapping[str, Any] = field(default_factory=lambda: dict.fromkeys(DIALLING_LIMITS))
    """The ceiling of the tenant's dial policy: `countries`, `per_minute` and `per_day`."""


def simulated_tokens(overrides: Mapping[str, int], *, services: Services) -> int:
    """Return how many tokens a tenant's simulated calls may use in a day."""
    default = services.settings.simulated_tokens_per_day
    return overrides.get("simulated_tokens_per_day", default)


def effective_limits(
    plan_limits: Mapping[str, int], overrides: Mapping[str, Any], *, services: Services
) -> Limits:
    """Return a tenant's limits; a value that the platform has set overrides the plan's."""
    return Limits(
        overrides.get("concurrent_calls", plan_limits["concurrent_calls"]),
        overrides.get("numbers", CAPS["numbers"].maximum),
        overrides.get("tokens_per_day"),
        simulated_tokens(overrides, services=services),
        {name: overrides.get("dialling", {}).get(name) for name in DIALLING_LIMITS},
    )
