"""Stored API keys: the prefix and a keyed hash, never the key itself."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import PLAIN
from vca.registry.base import PublicBase, TenantRows

SCOPES = ("read", "content", "write", "admin")


class ApiKey(PublicBase):
    """An API key of a tenant, or of the platform if it has no tenant."""

    __tablename__ = "api_keys"
    __audited_as__ = "api_key"
    __tenant_rows__ = TenantRows(archived=True, purged=True)
    __table_args__ = (
        Index(None, "tenant_id", "created_at", "id"),
        Index("api_keys_unrevoked_idx", "tenant_id", postgresql_where=text("revoked_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey("public.tenants.id"))
    prefix: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary)
    name: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), info=PLAIN)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
