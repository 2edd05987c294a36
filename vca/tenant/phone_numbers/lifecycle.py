"""The part of phone numbers in the life of a tenant."""

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.services.lifecycle_hooks import (
    Counts,
    ImportedTenant,
    NumberChange,
    TenantLifecycleHooks,
    TenantTable,
)
from vca.tenant.phone_numbers import number_metering, ownership
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.phone_numbers.registration import REGISTER_JOB, UNREGISTER_JOB


def _import_numbers(session: Session, imported: ImportedTenant) -> Counts:
    """Deactivate numbers that the registry has not given to the tenant; meter the others."""
    count = ownership.deactivate_unowned_numbers(session, imported.ref)
    number_metering.resume_metering(session, imported.ref, now=imported.now)
    return {"phone_numbers_deactivated": count}


def _update_registration(session: Session, change: NumberChange) -> None:
    """Enqueue the job that registers or unregisters the number at its carrier."""
    queue.enqueue(
        session,
        REGISTER_JOB if change.is_claimed else UNREGISTER_JOB,
        tenant_id=change.tenant_id,
        phone_number_id=change.phone_number_id,
        did_number=change.did_number,
        provider_type=change.provider_type,
        telephony_account_id=change.telephony_account_id,
    )


HOOKS = TenantLifecycleHooks(
    feature="phone_numbers",
    tables=(TenantTable(model=PhoneNumber, encrypted=("decision_secret",), configuration=True),),
    import_tenant=_import_numbers,
    examine=ownership.find_orphaned_numbers,
    purge_files=None,
    export_subject=None,
    erase_files=None,
    erase_rows=None,
    status_changed=None,
    number_changed=_update_registration,
    settings_changed=None,
    purge_expired=None,
)
