"""How much a tenant may use, as set by its plan or by the platform."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vca.kit.errors import Conflict

# The entries of `limits.dialling`; None means no ceiling.
DIALLING_LIMITS = ("countries", "per_minute", "per_day")


@dataclass(frozen=True)
class Limits:
    """The limits in force; None means no limit."""

    concurrent_calls: int
    numbers: int | None
    tokens_per_day: int | None
    dialling: Mapping[str, Any] = field(default_factory=lambda: dict.fromkeys(DIALLING_LIMITS))
    """The ceiling of the tenant's dial policy: `countries`, `per_minute` and `per_day`."""


class LimitReached(Conflict):
    """The tenant has reached the maximum of a resource, which the member `limit` names."""

    code = "limit-reached"

    def __init__(self, name: str, limit: int) -> None:
        detail = f"The tenant has reached its limit of {name}: {limit}."
        super().__init__(detail, members={"limit": name})


def effective_limits(plan_limits: Mapping[str, int], overrides: Mapping[str, Any]) -> Limits:
    """Return a tenant's limits; a value that the platform has set overrides the plan's."""
    return Limits(
        overrides.get("concurrent_calls", plan_limits["concurrent_calls"]),
        overrides.get("numbers"),
        overrides.get("tokens_per_day"),
        {name: overrides.get("dialling", {}).get(name) for name in DIALLING_LIMITS},
    )
