"""The part of recordings in the life of a tenant."""

from sqlalchemy.orm import Session

from vca.services import Services
from vca.services.lifecycle_hooks import (
    Counts,
    ImportedTenant,
    SubjectData,
    SubjectRecords,
    TenantLifecycleHooks,
    TenantTable,
)
from vca.tenancy.schema import TenantRef
from vca.tenant.recordings import retention, storage_metering, subject_audio
from vca.tenant.recordings.models import Recording


def _resume_metering(session: Session, imported: ImportedTenant) -> Counts:
    storage_metering.resume_metering(session, imported.ref, now=imported.now)
    return {}


def _export_subject(session: Session, records: SubjectRecords) -> SubjectData:
    return subject_audio.export_audio(session, records.call_ids)


def _erase_files(tenant: TenantRef, records: SubjectRecords, *, services: Services) -> Counts:
    return {"recordings": subject_audio.erase_audio(tenant, records.call_ids, services=services)}


HOOKS = TenantLifecycleHooks(
    feature="recordings",
    tables=(TenantTable(model=Recording, encrypted=(), configuration=False),),
    import_tenant=_resume_metering,
    examine=None,
    purge_files=retention.delete_files,
    export_subject=_export_subject,
    erase_files=_erase_files,
    erase_rows=None,
    status_changed=None,
    number_changed=None,
    settings_changed=None,
    purge_expired=None,
)
