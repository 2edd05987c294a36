"""The platform's audit: what operators do, and what is done to a tenant from outside its schema."""

from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped

from vca.registry.audit.mixins import AuditEntryMixin
from vca.registry.base import PublicBase


class PlatformAuditEntry(AuditEntryMixin, PublicBase):
    """An operation in `public`; `tenant_id` is whom it was about, and may be gone."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index(None, "tenant_id", "id"),)

    tenant_id: Mapped[UUID | None]
