"""How much a tenant may use, as set by its plan or by the platform."""

from collections.abc import Mapping
from dataclasses import dataclass

from vca.kit.errors import Conflict


@dataclass(frozen=True)
class Limits:
    """The limits in force; None means no limit."""

    concurrent_calls: int
    numbers: int | None
    tokens_per_day: int | None


class LimitReached(Conflict):
    """The tenant has reached the maximum of a resource, which the member `limit` names."""

    code = "limit-reached"

    def __init__(self, name: str, limit: int) -> None:
        detail = f"The tenant has reached its limit of {name}: {limit}."
        super().__init__(detail, members={"limit": name})


def effective_limits(plan_limits: Mapping[str, int], overrides: Mapping[str, int]) -> Limits:
    """Return a tenant's limits; a value that the platform has set overrides the plan's."""
    return Limits(
        overrides.get("concurrent_calls", plan_limits["concurrent_calls"]),
        overrides.get("numbers"),
        overrides.get("tokens_per_day"),
    )
