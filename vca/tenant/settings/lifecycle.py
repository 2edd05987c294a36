"""The part of settings in the life of a tenant."""

from vca.services.lifecycle_hooks import TenantLifecycleHooks, TenantTable
from vca.tenant.settings.models import Settings

HOOKS = TenantLifecycleHooks(
    feature="settings",
    tables=(TenantTable(model=Settings, encrypted=(), configuration=True),),
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
