"""The part of idempotency keys in the life of a tenant."""

from datetime import datetime

from vca.registry.idempotency import service
from vca.registry.idempotency.service import CLEANUP_JOB
from vca.services import Services
from vca.services.lifecycle_hooks import TenantLifecycleHooks, TenantTable
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.idempotency.models import TENANT_TABLE, IdempotencyKey


def _delete_expired(tenant: TenantRef, now: datetime, *, services: Services) -> None:
    with tenant_session(tenant, database=services.database) as session:
        service.delete_expired(session, table=TENANT_TABLE, now=now)


HOOKS = TenantLifecycleHooks(
    feature="idempotency",
    tables=(TenantTable(model=IdempotencyKey, encrypted=(), configuration=False),),
    import_tenant=None,
    examine=None,
    purge_files=None,
    export_subject=None,
    erase_files=None,
    erase_rows=None,  # calls know which fields of stored responses are personal, and erase them
    status_changed=None,
    number_changed=None,
    settings_changed=None,
    purge_expired={CLEANUP_JOB: _delete_expired},
)
