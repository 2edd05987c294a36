"""Database privileges: the grants of the logins, and the roles of tenants.

The owner's login creates and grants everything. The web's and the worker's logins own nothing, and
reach a tenant's tables only by entering that tenant.
"""

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit.db import Database
from vca.registry import sql_functions
from vca.registry.tenants import roles
from vca.tenancy.roles import Roles, quote_identifier
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, owner_session, public_session

_READABLE_TABLES = (
    "tenants",
    "dids",
    "did_misses",
    "deployment",
    "alembic_version",
    "plans",
    "usage_periods",
    "model_checks",
)
_TENANTS_WITHOUT_ROLE = text(
    """
    SELECT t.id FROM public.tenants t
    LEFT JOIN pg_roles r ON r.rolname = :prefix || 't_' || replace(t.id::text, '-', '')
    WHERE r.oid IS NULL ORDER BY t.created_at, t.id
    """
)


def grant_statements(database: str, login_roles: Roles) -> list[str]:
    """Return the REVOKE and GRANT statements for the logins, to be run as the owner."""
    web, worker, both_logins = (
        quote_identifier(login_roles.web),
        quote_identifier(login_roles.worker),
        _both_logins(login_roles),
    )
    return [
        *database_grants(database, login_roles),
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
        *(f"GRANT SELECT ON public.{table} TO {both_logins}" for table in _READABLE_TABLES),
        f"GRANT SELECT (revision, installed_at) ON public.tenant_ddl TO {both_logins}",
        f"GRANT SELECT, INSERT, UPDATE ON public.api_keys TO {web}",
        f"GRANT SELECT, INSERT ON public.audit_entries TO {both_logins}",
        f"GRANT INSERT ON public.plans TO {both_logins}",
        *(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON public.{table} TO {both_logins}"
            for table in ("idempotency_keys", "webhooks", "webhook_deliveries")
        ),
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON public.rate_buckets TO {web}",
        "GRANT USAGE ON SCHEMA jobs TO PUBLIC",
        "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public, jobs FROM PUBLIC",
        f"GRANT ALL ON ALL TABLES IN SCHEMA jobs TO {worker}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA jobs TO {worker}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jobs TO {worker}",
        *sql_functions.grant_statements(login_roles),
    ]


def database_grants(name: str, login_roles: Roles) -> list[str]:
    """Return the statements for the privileges on the database as a whole.

    No login may create temporary tables. They would be found before a tenant's own tables, by the
    next tenant on the same connection.
    """
    return [
        f"REVOKE ALL ON DATABASE {quote_identifier(name)} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {quote_identifier(name)} TO {_both_logins(login_roles)}",
    ]


def _both_logins(login_roles: Roles) -> str:
    return ", ".join(
        sorted({quote_identifier(login_roles.web), quote_identifier(login_roles.worker)})
    )


def apply_grants(session: Session, login_roles: Roles) -> None:
    """Execute the grants of the logins, as the owner."""
    connection = session.connection()
    for statement in grant_statements(
        str(session.scalar(text("SELECT current_database()"))), login_roles
    ):
        connection.exec_driver_sql(statement)


def restore_roles(database: Database, login_roles: Roles) -> list[UUID]:
    """Create the missing roles of tenants as the owner; return the ids of these tenants.

    Each role is one transaction. Roles are missing after a restore on another server, and after
    TENANT_ROLES was turned on. A tenant whose schema is missing too is skipped: `flask tenants
    doctor` reports it.
    """
    restored = []
    for tenant_id in tenants_without_role(database, login_roles):
        with suppress(IsolationError):
            with owner_session(TenantRef(tenant_id), database=database) as session:
                roles.ensure_role(session, tenant_id=tenant_id)
            restored.append(tenant_id)
    return restored


def tenants_without_role(database: Database, login_roles: Roles) -> Sequence[UUID]:
    """Return the tenants whose role is missing, the oldest first."""
    if login_roles.prefix is None:
        return []
    with public_session(database=database) as session:
        return session.scalars(_TENANTS_WITHOUT_ROLE, {"prefix": login_roles.prefix}).all()
