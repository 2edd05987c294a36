"""The tables of calls, their events, turns and outbound legs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import HASHED, PLAIN
from vca.conversation.types import Speaker
from vca.tenant.base import TenantBase, timestamp_column
from vca.tenant.calls.core import state_machine

DIRECTIONS = ("inbound", "outbound")
CALLER_IDS = ("shown", "withheld", "unavailable", "other")
# A call that has not ended. These calls count towards the concurrency limit.
LIVE_CONDITION = "status IN ('queued', 'ringing', 'in_progress', 'transferring')"
EVENT_TYPES = ("INITIATED", "RINGING", "ANSWERED", "ENDED", "FAILED")


class Call(TenantBase):
    """A call. It refers to its number, profile and account by id, because it outlives them.

    `tokens` counts all tokens that its models used, `output_tokens` the part that they generated.
    `reserved` counts against the spend cap while the call is live, in millionths of the currency's
    minor unit. `simulation` is how a simulated call differs from a real one. `spoken_language` are
    fields of the profile that the caller's language replaces. `websocket_offer` is the slot in the
    token of the last voice WebSocket, `websocket_slot` the slot of its current connection.
    `analysis_status` and `analysis_reason` are read with `analysis_state`.
    """

    __tablename__ = "calls"
    __audited_as__ = "call"
    __table_args__ = (
        UniqueConstraint("provider_type", "provider_call_id"),
        CheckConstraint("direction IN ('inbound', 'outbound')", name="direction"),
        CheckConstraint(
            "status IN ('queued', 'ringing', 'in_progress', 'transferring', 'completed', 'failed')",
            name="status",
        ),
        Index(None, "started_at", "id"),
        Index(None, "phone_number_id", "started_at"),
        Index(None, "caller_number", "started_at"),
        Index("calls_live_idx", "started_at", postgresql_where=text(LIVE_CONDITION)),
        Index(None, "ai_profile_id", "ai_profile_version"),
        Index("calls_simulated_idx", "ended_at", postgresql_where=text("simulated")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    phone_number_id: Mapped[UUID | None]
    ai_profile_id: Mapped[UUID | None]
    ai_profile_version: Mapped[int | None]
    direction: Mapped[str] = mapped_column(Text, info=PLAIN)
    status: Mapped[str] = mapped_column(Text, info=PLAIN)
    end_reason: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    end_detail: Mapped[str | None] = mapped_column(Text)
    caller_number: Mapped[str | None] = mapped_column(Text, info=HASHED)
    caller_id: Mapped[str] = mapped_column(Text, info=PLAIN)
    called_number: Mapped[str] = mapped_column(Text, info=HASHED)
    provider_type: Mapped[str] = mapped_column(Text, info=PLAIN)
    provider_call_id: Mapped[str | None] = mapped_column(Text)
    telephony_account_id: Mapped[UUID | None]
    simulated: Mapped[bool]
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    answered_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    route: Mapped[dict[str, Any]] = mapped_column(JSONB)
    call_metadata: Mapped[dict[str, Any]] = mapped_column(JSONB)
    latency: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    recording_status: Mapped[str | None] = mapped_column(Text)
    simulation: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    summary: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[str | None] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    transfer: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    tokens: Mapped[int] = mapped_column(server_default="0")
    output_tokens: Mapped[int] = mapped_column(server_default="0")
    reserved: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    dialled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    analysed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    spoken_language: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    websocket_offer: Mapped[UUID | None]
    websocket_slot: Mapped[UUID | None]
    analysis_status: Mapped[str] = mapped_column(Text, server_default="none")
    analysis_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = timestamp_column()

    @property
    def live(self) -> bool:
        """Whether the call has not ended."""
        return self.status not in state_machine.TERMINAL

    @property
    def state(self) -> state_machine.LifecycleState:
        """Return the columns that events change."""
        return state_machine.LifecycleState(
            self.status,
            self.started_at,
            self.answered_at,
            self.ended_at,
            self.end_reason,
            self.end_detail,
        )


class Event(TenantBase):
    """An event of a call. `event_key` makes a repeated delivery the same event.

    `position` orders events with the same timestamp, because some carriers report whole seconds.
    """

    __tablename__ = "call_events"
    __table_args__ = (
        UniqueConstraint("call_id", "event_key"),
        CheckConstraint(
            "event_type IN ('INITIATED', 'RINGING', 'ANSWERED', 'ENDED', 'FAILED')",
            name="event_type",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_id: Mapped[UUID] = mapped_column(ForeignKey(Call.id))
    event_type: Mapped[str] = mapped_column(Text)
    event_key: Mapped[str] = mapped_column(Text)
    timestamp: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    position: Mapped[int]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Turn(TenantBase):
    """One utterance of the caller or the agent.

    `heard_text` is what the caller heard of it before they interrupted it. For an agent's turn,
    `answers` is the sequence of the caller's turn that it answers, and `refused_tools` are the
    tool calls of the model that were not executed.
    """

    __tablename__ = "turns"
    __table_args__ = (CheckConstraint("speaker IN ('caller', 'agent')", name="speaker"),)

    call_id: Mapped[UUID] = mapped_column(ForeignKey(Call.id), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    speaker: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    heard_text: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    latency_ms: Mapped[dict[str, int]] = mapped_column(JSONB)
    answers: Mapped[int | None]
    actions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    tokens: Mapped[dict[str, int]] = mapped_column(JSONB, server_default="{}")
    refused_tools: Mapped[list[dict[str, str]]] = mapped_column(JSONB, server_default="[]")


@dataclass(frozen=True)
class TurnRecord:
    """The columns of a turn that later turns of the call need."""

    sequence: int
    speaker: Speaker
    text: str
    heard_text: str | None
    answers: int | None


class OutboundLeg(TenantBase):
    """A leg that was dialled for the tenant. The dialling limits count these rows."""

    __tablename__ = "outbound_legs"
    __table_args__ = (
        CheckConstraint("kind IN ('call', 'transfer', 'forward')", name="kind"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_id: Mapped[UUID | None]
    kind: Mapped[str] = mapped_column(Text)
    number: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = timestamp_column()
