"""How a simulated call differs from a real one, and the limit of open simulations.

The call's row stores what later requests need: the offset of its clock, and how its transfers end.
All times that VCA stores are real ones. The clock of the call decides the route and appears in the
prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from vca.telephony.types import LegOutcome
from vca.tenant.calls.core.models import LIVE_CONDITION, Call
from vca.tenant.settings.limits import LimitReached

MAX_OPEN = 20
TransferOutcome = Literal["answers", "busy", "no_answer"]
LEG_OUTCOMES: Mapping[TransferOutcome, LegOutcome] = {
    "answers": "answered",
    "busy": "busy",
    "no_answer": "no_answer",
}
# Held until the transaction ends, so that simultaneous simulations are counted one by one.
_LOCK = text(
    "SELECT pg_advisory_xact_lock("
    "hashtextextended('vca.simulations ' || current_setting('vca.tenant_id'), 0))"
)
_COUNT_OPEN = select(func.count()).where(text(LIVE_CONDITION), Call.simulated)


@dataclass(frozen=True)
class RequestedProfile:
    """The version of an AI profile that answers a simulated call, as `ai_profile_versions` has it.

    It need not be the profile of the number.
    """

    ai_profile_id: UUID
    version: int
    profile: Mapping[str, Any]


@dataclass(frozen=True)
class Simulation:
    """How a simulated call differs from a real one.

    - `clock_offset`: how far the call's clock is ahead of the real one.
    - `profile`: what answers instead of the number's profile. None: as for a real call.
    - `variables`: override the tenant's variables and those of a decision webhook.
    - `transfer_outcome`: how each transfer ends at once. None: it waits for its outcome.
    - `replay_of`: the call that is repeated.
    """

    clock_offset: timedelta = timedelta()
    profile: RequestedProfile | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    transfer_outcome: TransferOutcome | None = None
    replay_of: UUID | None = None

    def as_dict(self) -> dict[str, Any] | None:
        """Return what the call's row stores, or None if that is nothing."""
        values = {
            "clock_offset_s": self.clock_offset.total_seconds() or None,
            "transfer_outcome": self.transfer_outcome,
            "replay_of": self.replay_of and str(self.replay_of),
        }
        return {name: value for name, value in values.items() if value is not None} or None


class HasSimulation(Protocol):
    """A call with what its simulation asked for, None for a real call."""

    @property
    def simulation(self) -> Any:
        """Return the request as JSON, or None."""
        ...


def call_time(call: HasSimulation, now: datetime) -> datetime:
    """Return what the call's clock shows at the real time `now`."""
    return now + timedelta(seconds=(call.simulation or {}).get("clock_offset_s", 0))


def stored_transfer_outcome(call: HasSimulation) -> TransferOutcome | None:
    """Return how the call's transfers end at once, or None if they wait for their outcome."""
    outcome: TransferOutcome | None = (call.simulation or {}).get("transfer_outcome")
    return outcome


def is_replay(call: HasSimulation) -> bool:
    """Return whether the call repeats another one."""
    return "replay_of" in (call.simulation or {})


def require_capacity(session: Session) -> None:
    """Raise LimitReached if the tenant has its maximum of open simulations.

    The lock lasts until the caller's transaction, which inserts the next one, has ended.
    """
    session.execute(_LOCK)
    if (session.scalar(_COUNT_OPEN) or 0) >= MAX_OPEN:
        raise LimitReached("simulations", MAX_OPEN)
