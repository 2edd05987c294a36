"""The part of webhooks and their events in the life of a tenant."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.registry.webhooks import retention
from vca.registry.webhooks.retention import PURGE_JOB
from vca.services import Services
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
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.settings import service as settings
from vca.tenant.webhooks import imported_copy, subject_events
from vca.tenant.webhooks.events import EMIT_JOB
from vca.tenant.webhooks.models import Delivery, Webhook, WebhookEvent


def _mute_copy(session: Session, imported: ImportedTenant) -> Counts:
    """Deactivate the webhooks of a copy, and schedule the purge of its events."""
    count = imported_copy.mute_webhooks(session, imported.ref) if imported.is_copy else 0
    retention.schedule_purge_for_tenant(session, tenant_id=imported.ref.id, now=imported.now)
    return {"webhooks_deactivated": count}


def _export_subject(session: Session, records: SubjectRecords) -> SubjectData:
    payloads_by_call = subject_events.list_payloads(session, records.call_ids)
    return SubjectData(of_calls={id: {"told": payloads_by_call[id]} for id in records.call_ids})


def _erase_rows(session: Session, records: SubjectRecords) -> Counts:
    return subject_events.erase_events(session, records)


def _emit_status_event(session: Session, change: StatusChange) -> None:
    """Enqueue the job that emits the event inside the tenant, under the id of the platform's."""
    queue.enqueue(
        session,
        EMIT_JOB,
        tenant_id=change.tenant_id,
        type=change.event_type,
        event_id=change.event_id,
        at=change.changed_at,
        data={"before": change.before},
    )


def _apply_retention(session: Session, change: SettingsChange) -> None:
    """Purge events now if their retention has changed."""
    if "payloads" in change.retention_kinds:
        queue.withdraw(session, lock=PURGE_JOB)
        queue.enqueue(session, PURGE_JOB, lock=PURGE_JOB)


def _purge_events(tenant: TenantRef, now: datetime, *, services: Services) -> None:
    """Delete events and deliveries after 30 days, or after the tenant's shorter retention."""
    with tenant_session(tenant, database=services.database) as session:
        days = settings.retention_days(session, "payloads")
        period = retention.RETENTION if days is None else timedelta(days=days)
        tables = [Delivery, WebhookEvent]
        retention.purge_expired(session, tables=tables, now=now, retention=period)


HOOKS = TenantLifecycleHooks(
    feature="webhooks",
    tables=(
        TenantTable(model=WebhookEvent, encrypted=(), configuration=False),
        TenantTable(model=Webhook, encrypted=("secret", "previous_secret"), configuration=True),
        TenantTable(model=Delivery, encrypted=(), configuration=False),
    ),
    import_tenant=_mute_copy,
    examine=None,
    purge_files=None,
    export_subject=_export_subject,
    erase_files=None,
    erase_rows=_erase_rows,
    status_changed=_emit_status_event,
    number_changed=None,
    settings_changed=_apply_retention,
    purge_expired={PURGE_JOB: _purge_events},
)
