"""Bring all tenants' schemas to this code's revision; the list of tenants is the list of work."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.kit import db, log
from vca.kit.db import Database, DatabaseUnavailable
from vca.registry.tenants.models import Tenant
from vca.tenancy import roles, schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, as_owner, public

_LONGEST_S = 600.0


@dataclass
class Outcome:
    """How many schemas were migrated, and why others were not, by tenant."""

    migrated: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def revisions(session: Session) -> Sequence[str]:
    """The revision of every tenant's schema, in one read of `public`."""
    return session.scalars(select(Tenant.schema_revision)).all()


def migrate(database: Database, *, only: UUID | None = None) -> Outcome:
    """Migrate every tenant that is behind, or only one; one that fails is named and skipped."""
    outcome = Outcome()
    for tenant_id in _behind(only):
        try:
            outcome.migrated += _migrate(database, TenantRef(tenant_id))
        except (DBAPIError, DatabaseUnavailable, IsolationError) as error:
            log.get().error("tenant.migration_failed", tenant_id=str(tenant_id), exc_info=error)
            outcome.failed[str(tenant_id)] = type(error.__cause__ or error).__name__
    return outcome


def _behind(only: UUID | None) -> Sequence[UUID]:
    statement = select(Tenant.id).where(Tenant.schema_revision != schema.head())
    if only is not None:
        statement = statement.where(Tenant.id == only)
    with public() as session:
        return session.scalars(statement.order_by(Tenant.created_at, Tenant.id)).all()


def _migrate(database: Database, tenant: TenantRef) -> bool:
    """One tenant in one transaction; False when somebody else did it, or it is ahead of us."""
    with db.patience(_LONGEST_S), as_owner(tenant, database=database) as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        row = session.get_one(Tenant, tenant.id, with_for_update=True)
        if row.schema_revision == schema.head() or not schema.knows(row.schema_revision):
            return False
        script = schema.filled_in(
            schema.compile_script(above=row.schema_revision),
            tenant,
            grantees=roles.current().grantees(tenant),
        )
        session.connection().exec_driver_sql(script, execution_options={"no_parameters": True})
        row.schema_revision = schema.head()
        return True
