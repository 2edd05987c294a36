"""A tenant's audit, which is exported, imported and purged with the tenant."""

from vca.registry.audit.columns import EntryColumns
from vca.tenant.base import TenantBase


class Entry(EntryColumns, TenantBase):
    """An operation inside the tenant's schema."""

    __tablename__ = "audit_entries"
