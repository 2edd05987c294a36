"""How much a tenant may use: by its plan, or as the platform has set it."""

from collections.abc import Mapping
from dataclasses import dataclass

from vca.kit.errors import Conflict


@dataclass(frozen=True)
class Limits:
    """A tenant's limits as they act; None: no limit."""

    concurrent_calls: int
    numbers: int | None
    tokens_per_day: int | None


class LimitReached(Conflict):
    """The tenant has as much of something as it may have."""

    code = "limit-reached"

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(f"The tenant's limit is reached: {name} {limit}.")


def effective_limits(plan_limits: Mapping[str, int], overrides: Mapping[str, int]) -> Limits:
    """The limits of a tenant; what the platform has set wins over its plan's."""
    return Limits(
        overrides.get("concurrent_calls", plan_limits["concurrent_calls"]),
        overrides.get("numbers"),
        overrides.get("tokens_per_day"),
    )
