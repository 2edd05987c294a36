"""The part of the audit log in the life of a tenant."""

from vca.services.lifecycle_hooks import TenantLifecycleHooks, TenantTable
from vca.tenant.audit.models import AuditEntry

HOOKS = TenantLifecycleHooks(
    feature="audit",
    tables=(TenantTable(model=AuditEntry, encrypted=(), configuration=False),),
    import_tenant=None,
    examine=None,
    purge_files=None,
    export_subject=None,
    erase_files=None,
    erase_rows=None,
    status_changed=None,
    number_changed=None,
    settings_changed=None,
    purge_expired=None,
)
