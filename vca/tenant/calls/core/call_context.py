"""A call with all that a turn needs, as typed values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from vca.telephony.types import ProviderAccountRef
from vca.tenant.calls.core import call_profile, state_machine
from vca.tenant.calls.core.analysis_state import AnalysisState, read_state
from vca.tenant.calls.core.call_profile import CallProfile
from vca.tenant.calls.core.call_transfer import CallTransfer
from vca.tenant.calls.core.simulations import Simulation
from vca.tenant.settings.phrases import OwnTexts


@dataclass(frozen=True, slots=True)
class WebSocketSlots:
    """The slots of a call's voice WebSockets.

    `offer` is the one in the token of the last offer, `current` that of the connection in use.
    """

    offer: UUID | None
    current: UUID | None


@dataclass(frozen=True, slots=True)
class CallContext:
    """A call with its profile and the settings that a turn needs.

    - `provider_call_id`: the carrier's id; None for a call that has not been placed.
    - `simulation`: what a simulation asked for; nothing for a real call.
    - `tokens`: those that the call has used.
    - `profile`: None if no profile answers the call.
    - `variables`: the prompt variables of the tenant and of the call.
    - `hours`: the hours of the number, or else of the tenant, as JSON text. Parsed hours are cached
      by the text.
    """

    id: UUID
    status: str
    direction: str
    simulated: bool
    started_at: datetime
    answered_at: datetime | None
    caller_number: str | None
    called_number: str
    account: ProviderAccountRef
    provider_call_id: str | None
    recording_status: str | None
    simulation: Simulation
    transfer: CallTransfer | None
    tokens: int
    websocket: WebSocketSlots
    analysis: AnalysisState
    profile: CallProfile | None
    fallback_number: str | None
    texts: OwnTexts
    variables: Mapping[str, str]
    time_zone: str
    hours: str | None

    @property
    def has_ended(self) -> bool:
        """Whether the call has ended."""
        return self.status in state_machine.TERMINAL

    @property
    def agent(self) -> CallProfile:
        """The profile of a call that an agent answers; raises ValueError for any other call."""
        if self.profile is None:
            raise ValueError("no AI profile answers the call")
        return self.profile

    @property
    def placed_call_id(self) -> str:
        """The carrier's id of a call that has been placed; raises ValueError for any other call."""
        if self.provider_call_id is None:
            raise ValueError("the call has not been placed")
        return self.provider_call_id

    @property
    def tenant_number(self) -> str:
        """The tenant's number in the call: the called one, or the one that we call from."""
        number = self.called_number if self.direction == "inbound" else self.caller_number
        return str(number)


# In the order of `context_from_row`. The profile has the language that the caller speaks, if it is
# not the profile's own.
CONTEXT_COLUMNS = """
    c.id, c.status, c.direction, c.simulated, c.started_at, c.answered_at, c.caller_number,
    c.called_number, c.provider_type, c.telephony_account_id, c.provider_call_id,
    c.recording_status, c.simulation, c.transfer, c.tokens, c.websocket_offer, c.websocket_slot,
    c.analysis_status, c.analysis_reason, c.analysed_at,
    (v.profile || coalesce(c.spoken_language, '{}'))::text, n.fallback_number, s.sentences,
    s.phrases, s.variables, c.call_metadata, s.time_zone, coalesce(n.hours, s.hours)::text
"""


def context_from_row(row: Sequence[Any]) -> CallContext:
    """Return the context in a row with `CONTEXT_COLUMNS`."""
    (
        call_id,
        status,
        direction,
        simulated,
        started_at,
        answered_at,
        caller_number,
        called_number,
        provider_type,
        account_id,
        provider_call_id,
        recording_status,
        simulation,
        transfer,
        tokens,
        websocket_offer,
        websocket_slot,
        analysis_status,
        analysis_reason,
        analysed_at,
        profile,
        fallback_number,
        sentences,
        phrases,
        tenant_variables,
        call_variables,
        time_zone,
        hours,
    ) = row
    variables = {**tenant_variables, **call_variables}
    return CallContext(
        call_id,
        status,
        direction,
        simulated,
        started_at,
        answered_at,
        caller_number,
        called_number,
        ProviderAccountRef(provider_type, account_id),
        provider_call_id,
        recording_status,
        Simulation.from_dict(simulation),
        CallTransfer.from_dict(transfer),
        tokens,
        WebSocketSlots(websocket_offer, websocket_slot),
        read_state(analysis_status, analysis_reason, analysed_at),
        call_profile.parse_profile(profile) if profile is not None else None,
        fallback_number,
        OwnTexts(sentences, phrases),
        {name: str(value) for name, value in variables.items()},
        time_zone,
        hours,
    )
