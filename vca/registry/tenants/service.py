"""Create and find tenants, and change their status and plan."""

from time import monotonic
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.audit import context, redaction
from vca.kit import clock, db
from vca.kit.errors import Conflict, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.number_registry import service as number_registry
from vca.registry.tenants.models import PURGING, Tenant
from vca.registry.webhooks import platform_scope
from vca.services import Services
from vca.services.lifecycle_hooks import StatusChange
from vca.tenancy import citus, schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_connection

_LISTING = Listing(Tenant, (Tenant.created_at, Tenant.id))
_STATUS_EVENTS = {
    "active": "tenant.activated",
    "suspended": "tenant.suspended",
    "deleted": "tenant.deleted",
}
# How long a process remembers that a tenant's schema is supported, in seconds.
REMEMBER_SUPPORT_S = 60.0
_MAX_REMEMBERED_TENANTS = 10_000
_supported_until_s: dict[UUID, float] = {}
_REVISION = "SELECT schema_revision FROM public.tenants WHERE id = %(id)s"


class ExternalIdTaken(Conflict):
    """Another tenant has this external id."""

    code = "external-id-taken"


class TransitionRefused(Conflict):
    """The tenant's status cannot be changed in this way."""

    code = "transition-refused"


def create(
    session: Session, *, name: str, plan: str = "starter", external_id: str | None = None
) -> Tenant:
    """Create a tenant with its schema and all tables, in the caller's transaction.

    Raises ExternalIdTaken.
    """
    tenant_id = uuid4()
    citus.enable_schema_sharding(session)
    function = func.public.create_tenant(tenant_id, name, plan, external_id)
    try:
        session.execute(select(function))
    except IntegrityError as error:
        if db.constraint_name(error) == "tenants_external_id_key":
            raise ExternalIdTaken("Another tenant already has this external id.") from None
        raise
    changes = {"plan": redaction.plain_change(None, plan), "name": redaction.WITHHELD}
    context.record_change(session, "tenant", tenant_id, tenant_id=tenant_id, changes=changes)
    return get(session, tenant_id=tenant_id)


def get(session: Session, *, tenant_id: UUID) -> Tenant:
    """Return the tenant, whatever its status; raise NotFound."""
    tenant = session.get(Tenant, tenant_id)
    if tenant is None:
        raise NotFound
    return tenant


def list_page(session: Session, *, page: PageRequest, **filters: str) -> Page:
    """Return a page of tenants, oldest first; filters are columns and their values."""
    return _LISTING.page(session, page, filters)


def update(
    session: Session,
    *,
    services: Services,
    tenant_id: UUID,
    status: str | None = None,
    plan: str | None = None,
) -> Tenant:
    """Update status, plan or both; setting the current status changes nothing.

    Deleting a tenant stops its numbers in the same transaction, and quarantines them.
    Restoring it gives back those that are still free. Raises NotFound and
    TransitionRefused, also for a tenant whose purge has begun.
    """
    plan_before = None if plan is None else get(session, tenant_id=tenant_id).plan
    function = func.public.update_tenant(tenant_id, status, plan).table_valued(
        "status_before", "changed"
    )
    outcome = session.execute(select(function)).one_or_none()
    if outcome is None:
        raise NotFound
    before, changed = outcome
    if not changed:
        if get(session, tenant_id=tenant_id).schema_revision == PURGING:
            raise TransitionRefused("The tenant is being purged and cannot be restored.")
        raise TransitionRefused(f"The status cannot change from {before} to {status}.")
    tenant = session.get_one(Tenant, tenant_id, populate_existing=True)
    _record_changes(session, tenant, status=before, plan=plan_before or tenant.plan)
    if before != "deleted" and tenant.status == "deleted":
        number_registry.release_all(session, tenant_id=tenant_id, services=services)
    elif before == "deleted" and tenant.status == "active":
        number_registry.restore_all(session, tenant_id=tenant_id, services=services)
    if tenant.status != before:
        event_type = _STATUS_EVENTS[tenant.status]
        change = StatusChange(
            tenant_id, before, event_type, event_id=uuid4(), changed_at=clock.now()
        )
        platform_scope.emit_status_event(session, change)
        services.lifecycle_hooks.status_changed(session, change)
    return tenant


def _record_changes(session: Session, tenant: Tenant, **previous_values: str) -> None:
    """Record the changed columns of a tenant's row for the audit log."""
    now = {name: getattr(tenant, name) for name in previous_values}
    changes = {
        name: redaction.plain_change(previous_values[name], now[name])
        for name in now
        if now[name] != previous_values[name]
    }
    context.record_change(session, "tenant", tenant.id, tenant_id=tenant.id, changes=changes)


def require_supported_schema(tenant_id: UUID, *, services: Services) -> None:
    """Raise TenantUpgrading if the tenant's schema is older than this code supports.

    It is one autocommitted read, for requests that have neither an API key nor a called number. The
    process remembers for REMEMBER_SUPPORT_S that a schema is supported: migrations only move it
    ahead, and an import brings it to the head. An unknown tenant passes, and has no schema to open.
    """
    now_s = monotonic()
    if _supported_until_s.get(tenant_id, 0.0) > now_s:
        return
    with public_connection(database=services.database) as connection:
        row = db.fetch_one(connection, _REVISION, {"id": tenant_id.hex})
    if row is not None:
        schema.require_supported_revision(row[0])
        if len(_supported_until_s) >= _MAX_REMEMBERED_TENANTS:
            _supported_until_s.clear()
        _supported_until_s[tenant_id] = now_s + REMEMBER_SUPPORT_S


def tenant_ref(tenant: Tenant) -> TenantRef:
    """Return the tenant's reference, which other packages use."""
    return TenantRef(tenant.id)
