"""A tenant's database role: made where it is missing, and granted the tenant's tables."""

from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from vca.registry.tenants.models import Tenant
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import point_at
from vca.tenancy.tables import quoted, tables

_THERE = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
_ALL = text("SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, :prefix || 't_')")


def grantees(session: Session, *, tenant_id: UUID) -> str:
    """To whom the tenant's tables are granted, as SQL; makes the role if it is missing."""
    return str(session.scalar(select(func.public.tenant_grantees(tenant_id))))


def ensure(session: Session, *, tenant_id: UUID) -> None:
    """Make the tenant's role where it is missing, and grant it the tenant's tables, as the owner.

    Without roles the logins get them. A schema at a revision that this code does not know keeps
    what it has. The transaction's path is the tenant's afterwards.
    """
    tenant = TenantRef(tenant_id)
    revision = session.scalar(select(Tenant.schema_revision).where(Tenant.id == tenant_id))
    if revision is None or not schema.knows(revision):
        return
    who = grantees(session, tenant_id=tenant_id)
    grant_usage(session, tenant.schema, who)
    point_at(session, tenant.schema)
    script = schema.filled_in(schema.compile_grants(upto=revision), tenant, grantees=who)
    session.connection().exec_driver_sql(script)


def grant_usage(session: Session, name: str, who: str) -> None:
    """Let those enter a schema; which tables they may read is granted table by table."""
    session.execute(text(f"GRANT USAGE ON SCHEMA {quoted(name)} TO {who}"))


def withdraw(session: Session, *, tenant_id: UUID, prefix: str, schema: str) -> None:
    """Take a schema that was replaced from the tenant's role, if there is such a role."""
    role = TenantRef(tenant_id).role(prefix)
    if session.scalar(_THERE, {"role": role}) is not None:
        session.execute(text(f"REVOKE ALL ON SCHEMA {quoted(schema)} FROM {quoted(role)}"))
        named = ", ".join(quoted(schema, table.name) for table in tables(session, schema))
        if named:
            session.execute(text(f"REVOKE ALL ON {named} FROM {quoted(role)}"))


def existing(session: Session, *, prefix: str) -> set[str]:
    """The roles of tenants that the server has under this deployment's prefix."""
    return set(session.scalars(_ALL, {"prefix": prefix}))
