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
# Functions that a transaction inside a tenant may call; each one checks the transaction's tenant.
_TENANT_FUNCTIONS = (
    "public.acting_tenant()",
    "public.own_did(text)",
    "public.did_holder(text)",
    "public.claim_did(text, uuid, text, text)",
    "public.claim_did(text, uuid, text, uuid, text)",
    "public.release_did(text, interval)",
    "public.note_did_registration(text, uuid, text, text)",
    "public.note_did(text, uuid, text, text, uuid, text, uuid, timestamptz)",
    "public.own_standing()",
    "public.own_plan()",
    "public.own_usage(date)",
    "public.hold_usage(date)",
    "public.keep_usage(date, bigint, jsonb, jsonb)",
    "public.tell_operators(uuid, text, jsonb, timestamptz, timestamptz)",
    "jobs.enqueue(text, jsonb, timestamptz, text)",  # of the previous release
    "jobs.enqueue(text, text, jsonb, timestamptz, text)",
    "jobs.withdraw(text)",
    "public.forget_told(uuid[])",
    "jobs.forget_finished(text)",
    "jobs.naming(text)",
    "jobs.reword(bigint, jsonb)",
)
_PLATFORM_FUNCTIONS = (
    "public.create_tenant(uuid, text, text, text)",
    "public.update_tenant(uuid, text, text)",
    "public.assign_did(text, uuid)",
    "public.unassign_did(text)",
    "public.release_tenant_dids(uuid, interval)",
    "public.restore_tenant_dids(uuid)",
    "public.count_did_miss(text)",
    "public.freeze_dialling(boolean)",
    "public.draw_tokens(uuid[], double precision[], integer[], integer[])",
    "public.take_relay_slot(uuid, integer, interval)",
    "public.hold_relay_slot(uuid, boolean, interval)",
    "public.free_relay_slot(uuid)",
    "public.record_first_public_base_url(text)",
    "public.accept_unsigned_states()",
    "public.start_model_check(text, text, interval)",
    "public.finish_model_check(text, text, jsonb, text)",
    "jobs.tenants_awaiting(text)",
    "jobs.oldest_due_s()",
    "jobs.tenant_jobs()",
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
        *(f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC" for function in _TENANT_FUNCTIONS),
        *(
            f"GRANT EXECUTE ON FUNCTION {function} TO {both_logins}"
            for function in _PLATFORM_FUNCTIONS
        ),
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
