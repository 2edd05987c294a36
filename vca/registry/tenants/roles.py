"""A tenant's database role, as far as the lifecycle of tenants needs it."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef
from vca.tenancy.tables import quoted, tables

_THERE = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
_ALL = text("SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, :prefix || 't_')")


def ensure(session: Session, *, tenant_id: UUID, prefix: str) -> None:
    """Make the tenant's role where it is missing, and grant it the tenant's tables.

    Each table is named: `ALL TABLES IN SCHEMA` reads the whole catalogue.
    """
    tenant = TenantRef(tenant_id)
    role, schema = quoted(tenant.role(prefix)), quoted(tenant.schema)
    if session.scalar(_THERE, {"role": tenant.role(prefix)}) is None:
        session.execute(text(f"CREATE ROLE {role} NOLOGIN"))
    session.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {role}"))
    named = ", ".join(quoted(tenant.schema, table.name) for table in tables(session, tenant.schema))
    session.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {named} TO {role}"))


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
