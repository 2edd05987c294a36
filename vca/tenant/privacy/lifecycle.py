"""The part of privacy requests in the life of a tenant."""

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.services.lifecycle_hooks import (
    Counts,
    ImportedTenant,
    TenantLifecycleHooks,
    TenantTable,
)
from vca.tenant.privacy.models import PrivacyRequest
from vca.tenant.privacy.re_erasure import REAPPLY_JOB


def _repeat_erasures(session: Session, imported: ImportedTenant) -> Counts:
    """Enqueue the job that erases again the persons whom the archive has brought back."""
    queue.enqueue(session, REAPPLY_JOB, tenant_id=imported.ref.id, archived=imported.archived_id)
    return {}


HOOKS = TenantLifecycleHooks(
    feature="privacy",
    tables=(TenantTable(model=PrivacyRequest, encrypted=("sealed_number",), configuration=False),),
    import_tenant=_repeat_erasures,
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
