"""Create a tenant's database role, and grant it the tenant's tables."""

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
    """Return the roles that get the tenant's tables, as SQL; create the role if it is missing."""
    return str(session.scalar(select(func.public.tenant_grantees(tenant_id))))


def ensure_role(session: Session, *, tenant_id: UUID) -> None:
    """Create the tenant's role if it is missing, and grant it the tenant's tables, as the owner.

    In a deployment without roles the logins get the grants. A schema at an unknown revision keeps
    its grants. Afterwards the transaction's search_path is the tenant's schema.
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
    """Grant USAGE on a schema; the tables are granted one by one."""
    session.execute(text(f"GRANT USAGE ON SCHEMA {quote_name(name)} TO {grantees_sql}"))


def revoke_schema(session: Session, *, tenant_id: UUID, prefix: str, schema: str) -> None:
    """Revoke a replaced schema from the tenant's role, if there is such a role."""
    role = TenantRef(tenant_id).role(prefix)
    if session.scalar(_ROLE_EXISTS, {"role": role}) is not None:
        session.execute(text(f"REVOKE ALL ON SCHEMA {quote_name(schema)} FROM {quote_name(role)}"))
        table_list = ", ".join(
            quote_name(schema, table.name) for table in list_tables(session, schema)
        )
        if table_list:
            session.execute(text(f"REVOKE ALL ON {table_list} FROM {quote_name(role)}"))


def existing_roles(session: Session, *, prefix: str) -> set[str]:
    """Return the tenants' roles on the server with this deployment's prefix."""
    return set(session.scalars(_LIST_TENANT_ROLES, {"prefix": prefix}))
