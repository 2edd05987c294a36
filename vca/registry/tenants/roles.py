"""A tenant's database role: made where it is missing, and granted the tenant's tables."""

from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from vca.registry.tenants.models import Tenant
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import set_search_path
from vca.tenancy.tables import list_tables, quote_name

_ROLE_EXISTS = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
_LIST_TENANT_ROLES = text(
    "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, :prefix || 't_')"
)


def grantees(session: Session, *, tenant_id: UUID) -> str:
    """To whom the tenant's tables are granted, as SQL; makes the role if it is missing."""
    return str(session.scalar(select(func.public.tenant_grantees(tenant_id))))


def ensure_role(session: Session, *, tenant_id: UUID) -> None:
    """Make the tenant's role where it is missing, and grant it the tenant's tables, as the owner.

    Without roles the logins get them. A schema at a revision that this code does not know keeps
    what it has. The transaction's path is the tenant's afterwards.
    """
    tenant = TenantRef(tenant_id)
    revision = session.scalar(select(Tenant.schema_revision).where(Tenant.id == tenant_id))
    if revision is None or not schema.is_known_revision(revision):
        return
    grantees_sql = grantees(session, tenant_id=tenant_id)
    grant_usage(session, tenant.schema, grantees_sql)
    set_search_path(session, tenant.schema)
    script = schema.render_for_tenant(
        schema.compile_grants(to_revision=revision), tenant, grantees=grantees_sql
    )
    session.connection().exec_driver_sql(script)


def grant_usage(session: Session, name: str, grantees_sql: str) -> None:
    """Let those enter a schema; which tables they may read is granted table by table."""
    session.execute(text(f"GRANT USAGE ON SCHEMA {quote_name(name)} TO {grantees_sql}"))


def revoke_schema(session: Session, *, tenant_id: UUID, prefix: str, schema: str) -> None:
    """Take a schema that was replaced from the tenant's role, if there is such a role."""
    role = TenantRef(tenant_id).role(prefix)
    if session.scalar(_ROLE_EXISTS, {"role": role}) is not None:
        session.execute(text(f"REVOKE ALL ON SCHEMA {quote_name(schema)} FROM {quote_name(role)}"))
        table_list = ", ".join(
            quote_name(schema, table.name) for table in list_tables(session, schema)
        )
        if table_list:
            session.execute(text(f"REVOKE ALL ON {table_list} FROM {quote_name(role)}"))


def existing_roles(session: Session, *, prefix: str) -> set[str]:
    """The roles of tenants that the server has under this deployment's prefix."""
    return set(session.scalars(_LIST_TENANT_ROLES, {"prefix": prefix}))
