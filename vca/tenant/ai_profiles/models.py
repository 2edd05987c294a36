"""AI profiles and all their versions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import PLAIN
from vca.tenant.base import TenantBase, timestamp_column

ROLES = ("receptionist", "sales", "support", "dispatcher", "custom")
TOOLS = ("end_call", "transfer", "take_message", "fallback")


class AiProfile(TenantBase):
    """An agent's current instructions and limits."""

    __tablename__ = "ai_profiles"
    __audited_as__ = "ai_profile"
    __table_args__ = (
        CheckConstraint(
            "role IN ('receptionist', 'sales', 'support', 'dispatcher', 'custom')", name="role"
        ),
        Index(
            "ai_profiles_one_default_key",
            "is_default",
            unique=True,
            postgresql_where=text("is_default"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text, info=PLAIN)
    is_default: Mapped[bool]
    version: Mapped[int]
    system_prompt: Mapped[str] = mapped_column(Text)
    greeting: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    voice: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    temperature: Mapped[float | None]
    max_duration_seconds: Mapped[int | None]
    max_turns: Mapped[int | None]
    silence_seconds: Mapped[int | None]
    end_phrases: Mapped[list[str]] = mapped_column(JSONB)
    tools: Mapped[list[str]] = mapped_column(JSONB, info=PLAIN)
    transfer_targets: Mapped[dict[str, Any]] = mapped_column(JSONB)
    extract: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    recording: Mapped[bool]
    consent_sentence: Mapped[str | None] = mapped_column(Text)
    redaction: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    turn: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[datetime] = timestamp_column()
    updated_at: Mapped[datetime] = timestamp_column()


class AiProfileVersion(TenantBase):
    """The content of a profile at one version; outlives the profile because calls refer to it."""

    __tablename__ = "ai_profile_versions"

    ai_profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    profile: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = timestamp_column()


# The fields that a version stores: everything that affects a call. `is_default` is not among them
# because it affects routing only.
VERSIONED_FIELDS = (
    "name",
    "role",
    "system_prompt",
    "greeting",
    "language",
    "voice",
    "model",
    "temperature",
    "max_duration_seconds",
    "max_turns",
    "silence_seconds",
    "end_phrases",
    "tools",
    "transfer_targets",
    "extract",
    "recording",
    "consent_sentence",
    "redaction",
    "turn",
)
