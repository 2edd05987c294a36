"""The audit log of one tenant; it is exported, imported and purged with the tenant."""

from vca.registry.audit.mixins import AuditEntryMixin
from vca.tenant.base import TenantBase


class AuditEntry(AuditEntryMixin, TenantBase):
    """An audited operation inside the tenant's schema."""

    __tablename__ = "audit_entries"
