"""Types that pass between the call flow and the carriers' transports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from vca.conversation import speech_text
from vca.conversation.redaction import NO_REDACTION, Redaction
from vca.kit.outcome_stream import OutcomeStream
from vca.registry.number_registry.service import Owner
from vca.telephony.types import (
    Caller,
    CallEvent,
    CallMetadata,
    PlainAction,
    ProviderAccountRef,
    Say,
)
from vca.tenancy.schema import TenantRef
from vca.tenant.calls.core import state_machine
from vca.tenant.calls.core.call_transfer import CallTransfer
from vca.tenant.calls.core.simulations import Simulation
from vca.tenant.calls.core.state_machine import LifecycleState


class ConnectionReplaced(Exception):
    """The carrier has replaced the connection of a voice WebSocket by another one."""


@dataclass(frozen=True)
class CallRef:
    """A reference to a call: its tenant and its id."""

    tenant: TenantRef
    call_id: UUID


@dataclass(frozen=True)
class Utterance:
    """What the caller said in a turn, and what tells a repeated turn from a new one.

    - `text`: empty if the caller was silent. Keys are an utterance that names them.
    - `after`: the number of stored turns when the carrier began to listen. None: not known, so the
      turn is a new one.
    - `connection`: the slot of the utterance's voice WebSocket. None: it came without one.
    """

    text: str
    after: int | None = None
    connection: UUID | None = None


@dataclass(frozen=True)
class InboundCall:
    """An inbound call: the number's owner, the caller, the carrier's account and its event.

    `simulation` is set if our simulated phone calls.
    """

    owner: Owner
    metadata: CallMetadata
    caller: Caller
    event: CallEvent
    account: ProviderAccountRef
    simulated: bool
    simulation: Simulation | None = None

    @property
    def moment(self) -> datetime:
        """What the call's clock shows; a simulation may move it."""
        if self.simulation is None:
            return self.metadata.timestamp
        return self.simulation.call_time(self.metadata.timestamp)

    @property
    def provider_type(self) -> str:
        """The carrier's name."""
        return self.account.provider_type


@dataclass(frozen=True)
class NewCall:
    """A call to be inserted."""

    phone_number_id: UUID | None
    ai_profile_id: UUID | None
    ai_profile_version: int | None
    caller_number: str | None
    caller_id: str
    called_number: str
    provider_type: str
    provider_call_id: str
    simulated: bool
    route: Mapping[str, Any]
    telephony_account_id: UUID | None = None
    recording_status: str | None = None
    reserved: int = 0
    direction: str = "inbound"
    call_metadata: Mapping[str, Any] = field(default_factory=dict)
    simulation: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call as far as its events, its end and its metering need it, in the order of the query."""

    state: LifecycleState
    transfer: CallTransfer | None
    id: UUID
    phone_number_id: UUID | None
    ai_profile_id: UUID | None
    direction: str
    simulated: bool
    provider_type: str
    provider_call_id: str | None
    telephony_account_id: UUID | None
    recording_status: str | None
    route: Mapping[str, Any]
    tokens: int
    output_tokens: int
    created_at: datetime
    spoken_chars: int
    """The number of characters that the agent said."""
    latencies: Sequence[Mapping[str, int]]
    """The milliseconds per stage of each turn."""
    retention_days: Mapping[str, int]
    """The tenant's retention periods."""

    @property
    def live(self) -> bool:
        """Whether the call has not ended."""
        return self.state.status not in state_machine.TERMINAL


@dataclass(frozen=True)
class ForwardOrder:
    """An order to forward the caller. The number is permitted when it is dialled."""

    number: str


@dataclass(frozen=True)
class TransferOrder:
    """An order to transfer the caller; the number is permitted when it is dialled.

    `timeout_s` is the maximum ringing time.
    """

    number: str
    timeout_s: int


FlowAction = PlainAction | ForwardOrder | TransferOrder


@dataclass(frozen=True)
class SpokenChunk:
    """A part of the agent's answer that can be spoken at once.

    `redaction` is applied to the text before it is stored.
    """

    text: str
    language: str | None = None
    voice: str | None = None
    redaction: Redaction = NO_REDACTION


@dataclass(frozen=True)
class TurnResult:
    """The next actions, which may order legs. `ref` is None if no call was recorded.

    `turns` is the number of stored turns, or None if the agent no longer listens.
    """

    ref: CallRef | None
    actions: tuple[FlowAction, ...]
    turns: int | None = None


class TurnStream(OutcomeStream[SpokenChunk, TurnResult]):
    """The agent's text while it is generated; the outcome are the actions that follow it."""


class HasProviderAccount(Protocol):
    """The row of a call, or the part of it that names its provider account."""

    @property
    def provider_type(self) -> str:
        """The carrier's name."""

    @property
    def telephony_account_id(self) -> UUID | None:
        """The tenant's account, or None for the deployment's."""


def account_of(call: HasProviderAccount) -> ProviderAccountRef:
    """Return the provider account of a call."""
    return ProviderAccountRef(call.provider_type, call.telephony_account_id)


def collect_turn(turn: TurnStream) -> TurnResult:
    """Run a turn to its end and put its text, as one Say, before the resulting actions."""
    chunks = list(turn)
    result = turn.outcome
    return replace(result, actions=(*join_chunks(chunks), *result.actions))


def join_chunks(chunks: list[SpokenChunk]) -> tuple[Say, ...]:
    """Join chunks into one Say action. No chunks give no action."""
    if not chunks:
        return ()
    text = speech_text.join_chunks(chunk.text for chunk in chunks)
    return (Say(text, chunks[0].language, chunks[0].voice),)
