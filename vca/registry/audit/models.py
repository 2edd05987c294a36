"""The platform's audit log: platform operations, and operations on tenants from outside."""

from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped

from vca.registry.audit.mixins import AuditEntryMixin
from vca.registry.base import PublicBase, TenantRows


class PlatformAuditEntry(AuditEntryMixin, PublicBase):
    """An operation in `public`; `tenant_id` is the tenant it affected, which may be gone."""

    __tablename__ = "audit_entries"
    __tenant_rows__ = TenantRows(archived=True, purged=False)
    __table_args__ = (Index(None, "tenant_id", "id"),)

    tenant_id: Mapped[UUID | None]
