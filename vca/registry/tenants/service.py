"""Create tenants, find them, and move them through their states."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit import db, deeds, disclosure
from vca.kit.errors import Conflict, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.dids import service as dids
from vca.registry.tenants.models import PURGING, Tenant
from vca.registry.webhooks import operator
from vca.tenancy import citus, schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import lookup

_LISTING = Listing(Tenant, (Tenant.created_at, Tenant.id))
_TOLD = {
    "active": "tenant.activated",
    "suspended": "tenant.suspended",
    "deleted": "tenant.deleted",
}
_REVISION = "SELECT schema_revision FROM public.tenants WHERE id = %(id)s"


class ExternalIdTaken(Conflict):
    """Another tenant bears this external id."""

    code = "external-id-taken"


class TransitionRefused(Conflict):
    """A tenant cannot go from its status to that one."""

    code = "transition-refused"


def create(
    session: Session, *, name: str, plan: str = "starter", external_id: str | None = None
) -> Tenant:
    """Make a tenant with its schema and all tables, in the caller's transaction.

    Raises ExternalIdTaken.
    """
    tenant_id = uuid4()
    citus.place_new_schemas(session)
    call = func.public.create_tenant(tenant_id, name, plan, external_id)
    try:
        session.execute(select(call))
    except IntegrityError as error:
        if db.constraint(error) == "tenants_external_id_key":
            raise ExternalIdTaken("Another tenant bears this external id.") from None
        raise
    told = {"plan": disclosure.shown(None, plan), "name": disclosure.WITHHELD}
    deeds.note(session, "tenant", tenant_id, tenant_id=tenant_id, changes=told)
    return get(session, tenant_id=tenant_id)


def get(session: Session, *, tenant_id: UUID) -> Tenant:
    """The tenant, whatever its status; raises NotFound."""
    tenant = session.get(Tenant, tenant_id)
    if tenant is None:
        raise NotFound
    return tenant


def list_page(session: Session, *, page: PageRequest, **filters: str) -> Page:
    """Tenants in the order of their creation; filters are columns and their wanted values."""
    return _LISTING.page(session, page, filters)


def active(session: Session) -> Sequence[Tenant]:
    """Every tenant that is not deleted, for the operator's commands."""
    return session.scalars(
        select(Tenant).where(Tenant.status != "deleted").order_by(Tenant.created_at, Tenant.id)
    ).all()


def update(
    session: Session,
    *,
    tenant_id: UUID,
    status: str | None = None,
    plan: str | None = None,
    rest: timedelta = dids.REST,
) -> Tenant:
    """Change status, plan or both; the status a tenant already has is no change.

    Deleting stops its numbers in the same transaction, and lets them rest for `rest`; restoring
    gives back those that nobody took meanwhile. Raises NotFound and TransitionRefused, also for a
    tenant whose purge has begun.
    """
    plan_before = None if plan is None else get(session, tenant_id=tenant_id).plan
    call = func.public.update_tenant(tenant_id, status, plan).table_valued(
        "status_before", "changed"
    )
    outcome = session.execute(select(call)).one_or_none()
    if outcome is None:
        raise NotFound
    before, changed = outcome
    if not changed:
        if get(session, tenant_id=tenant_id).schema_revision == PURGING:
            raise TransitionRefused("The tenant is being purged; nothing can restore it.")
        raise TransitionRefused(f"A {before} tenant cannot become {status}.")
    tenant = session.get_one(Tenant, tenant_id, populate_existing=True)
    _note(session, tenant, status=before, plan=plan_before or tenant.plan)
    if before != "deleted" and tenant.status == "deleted":
        dids.release_all(session, tenant_id=tenant_id, rest=rest)
    elif before == "deleted" and tenant.status == "active":
        dids.restore_all(session, tenant_id=tenant_id)
    if tenant.status != before:
        operator.of_tenant(session, tenant_id=tenant_id, type=_TOLD[tenant.status], before=before)
    return tenant


def _note(session: Session, tenant: Tenant, **before: str) -> None:
    """Tell what of a tenant's row has changed."""
    now = {name: getattr(tenant, name) for name in before}
    changes = {
        name: disclosure.shown(before[name], now[name]) for name in now if now[name] != before[name]
    }
    deeds.note(session, "tenant", tenant.id, tenant_id=tenant.id, changes=changes)


def require_supported(tenant_id: UUID) -> None:
    """Raise TenantUpgrading if the tenant's schema is further behind than this code can serve.

    One autocommitted read; for what comes without a key and without a called number.
    """
    with lookup() as connection:
        row = db.run_one(connection, _REVISION, {"id": tenant_id.hex})
    if row is not None:
        schema.require_supported(row[0])


def ref(tenant: Tenant) -> TenantRef:
    """The tenant as other rooms hold it."""
    return TenantRef(tenant.id)
