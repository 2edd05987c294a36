"""The part of calls in the life of a tenant."""

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.services.lifecycle_hooks import (
    Counts,
    ImportedTenant,
    SettingsChange,
    StatusChange,
    SubjectData,
    SubjectRecords,
    TenantLifecycleHooks,
    TenantTable,
)
from vca.tenant.calls.carrier_webhooks.fallback import RENDER_FALLBACKS_JOB
from vca.tenant.calls.core import analysis_state, subject_data
from vca.tenant.calls.core.models import Call, Event, OutboundLeg, Turn
from vca.tenant.calls.core.retention import PURGE_PAYLOADS, PURGE_SIMULATIONS, PURGE_TRANSCRIPTS

# Settings that decide which numbers the static fallback documents may forward callers to.
_DIALLING_SETTINGS = {"home_country", "dial_policy", "limits"}


def _resume_analyses(session: Session, imported: ImportedTenant) -> Counts:
    analysis_state.resume_analyses(session, imported.ref)
    return {}


def _export_subject(session: Session, records: SubjectRecords) -> SubjectData:
    return SubjectData(of_calls=subject_data.export_calls(session, records.call_ids))


def _erase_rows(session: Session, records: SubjectRecords) -> Counts:
    return subject_data.erase_calls(session, records.call_ids)


def _render_fallbacks_of_tenant(session: Session, change: StatusChange) -> None:
    lock = f"{RENDER_FALLBACKS_JOB}:{change.tenant_id.hex}"
    queue.enqueue(session, RENDER_FALLBACKS_JOB, lock=lock, tenant_id=change.tenant_id)


def _apply_settings(session: Session, change: SettingsChange) -> None:
    """Apply a changed retention to existing data, and a changed dial policy to fallbacks."""
    kinds = set(change.retention_kinds)
    if kinds & {"transcripts", "payloads"}:
        _enqueue_purge(session, PURGE_SIMULATIONS)
    if "transcripts" in kinds:
        _enqueue_purge(session, PURGE_TRANSCRIPTS)
    if "payloads" in kinds:
        _enqueue_purge(session, PURGE_PAYLOADS)
    if _DIALLING_SETTINGS.intersection(change.names):
        queue.enqueue(session, RENDER_FALLBACKS_JOB, lock=RENDER_FALLBACKS_JOB)


def _enqueue_purge(session: Session, job: str) -> None:
    """Enqueue the job now, in place of the one that waits for the next expiry."""
    queue.withdraw(session, lock=job)
    queue.enqueue(session, job, lock=job)


HOOKS = TenantLifecycleHooks(
    feature="calls",
    tables=(
        TenantTable(model=Call, encrypted=(), configuration=False, call_id="id"),
        TenantTable(model=Event, encrypted=(), configuration=False),
        TenantTable(model=Turn, encrypted=(), configuration=False),
        TenantTable(model=OutboundLeg, encrypted=(), configuration=False),
    ),
    import_tenant=_resume_analyses,
    examine=None,
    purge_files=None,
    export_subject=_export_subject,
    erase_files=None,
    erase_rows=_erase_rows,
    status_changed=_render_fallbacks_of_tenant,
    number_changed=None,
    settings_changed=_apply_settings,
    purge_expired=None,
)
