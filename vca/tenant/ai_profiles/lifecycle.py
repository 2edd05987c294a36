"""The part of AI profiles in the life of a tenant."""

from sqlalchemy import exists
from sqlalchemy.orm import Session

from vca.services.lifecycle_hooks import (
    Counts,
    ImportedTenant,
    TenantLifecycleHooks,
    TenantTable,
)
from vca.tenant.ai_profiles import extract_schema
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion

# The version of a profile that the next call uses.
_IS_CURRENT_VERSION = exists().where(
    AiProfile.id == AiProfileVersion.ai_profile_id, AiProfile.version == AiProfileVersion.version
)


def _remove_unusable_schemas(session: Session, imported: ImportedTenant) -> Counts:
    count = extract_schema.remove_unusable_schemas(session, imported.ref)
    return {"unusable_schemas_removed": count}


HOOKS = TenantLifecycleHooks(
    feature="ai_profiles",
    tables=(
        TenantTable(model=AiProfile, encrypted=(), configuration=True),
        TenantTable(model=AiProfileVersion, encrypted=(), configuration=_IS_CURRENT_VERSION),
    ),
    import_tenant=_remove_unusable_schemas,
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
