"""How a simulated call differs from a real one, and how many of them a tenant may have.

The call's row stores what later requests need: the offset of its clock, and how its transfers end.
All times that VCA stores are real ones. The clock of the call decides the route and appears in the
prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from vca.registry import caps
from vca.telephony.types import LegOutcome
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.calls.core.call_profile import CallProfile
from vca.tenant.calls.core.models import LIVE_CONDITION, Call

TransferOutcome = Literal["answers", "busy", "no_answer"]
LEG_OUTCOMES: Mapping[TransferOutcome, LegOutcome] = {
    "answers": "answered",
    "busy": "busy",
    "no_answer": "no_answer",
}


@dataclass(frozen=True)
class RequestedProfile:
    """The version of an AI profile that answers a simulated call, as `ai_profile_versions` has it.

    It need not be the profile of the number.
    """

    ai_profile_id: UUID
    version: int
    profile: CallProfile


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

    @staticmethod
    def from_dict(stored: Mapping[str, Any] | None) -> "Simulation":
        """Return what a call's row stores, without the profile and the variables."""
        if not stored:
            return NO_SIMULATION
        replay_of = stored.get("replay_of")
        return Simulation(
            timedelta(seconds=stored.get("clock_offset_s", 0)),
            transfer_outcome=stored.get("transfer_outcome"),
            replay_of=UUID(replay_of) if replay_of else None,
        )

    def call_time(self, now: datetime) -> datetime:
        """Return what the call's clock shows at the real time `now`."""
        return now + self.clock_offset

    def as_dict(self) -> dict[str, Any] | None:
        """Return what the call's row stores, or None if that is nothing."""
        values = {
            "clock_offset_s": self.clock_offset.total_seconds() or None,
            "transfer_outcome": self.transfer_outcome,
            "replay_of": self.replay_of and str(self.replay_of),
        }
        return {name: value for name, value in values.items() if value is not None} or None


# What a real call's row stores.
NO_SIMULATION = Simulation()


def prepare_insertion(
    session: Session, profile: RequestedProfile | None, *, stays_open: bool, now: datetime
) -> None:
    """Check that the tenant may have one more simulated call, which the transaction then inserts.

    `stays_open`: it counts against the open simulations. The version of a requested profile is
    locked, so that it is not deleted before the call names it. Raises LimitReached, and
    InvalidInput if the version was deleted.
    """
    if profile is not None:
        ai_profiles.lock_version(
            session, ai_profile_id=profile.ai_profile_id, version=profile.version
        )
    is_of_day = or_(Call.ended_at.is_(None), Call.ended_at > now - timedelta(days=1))
    simulated_calls = select(Call.id).where(Call.simulated)
    caps.require_capacity(session, "simulations_per_day", simulated_calls.where(is_of_day))
    if stays_open:
        caps.require_capacity(session, "simulations", simulated_calls.where(text(LIVE_CONDITION)))
