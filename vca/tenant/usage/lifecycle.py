"""The part of usage in the life of a tenant."""

from sqlalchemy.orm import Session

from vca.services.lifecycle_hooks import (
    Counts,
    ImportedTenant,
    TenantLifecycleHooks,
    TenantTable,
)
from vca.tenant.usage import rebuild
from vca.tenant.usage.models import UsageFact


def _rebuild_usage(session: Session, imported: ImportedTenant) -> Counts:
    rebuild.rebuild_usage(session, imported.ref)
    return {}


HOOKS = TenantLifecycleHooks(
    feature="usage",
    tables=(TenantTable(model=UsageFact, encrypted=(), configuration=False),),
    import_tenant=_rebuild_usage,
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
