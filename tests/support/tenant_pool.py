"""Reuse tenants of earlier tests after a reset, which takes a tenth of the time of creating one.

A tenant from the pool is indistinguishable from a new one: it has exactly the rows that creation
writes, in its schema and elsewhere. The pool does not repair changes in the catalogue: it drops a
tenant whose catalogue has changed, and one that is not active any more.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from tests.support import admin_db
from tests.support.services import app_services
from vca.kit import db
from vca.kit.storage import Store
from vca.tenancy import sql_splitter
from vca.tenancy.schema import TenantRef, render_for_tenant
from vca.tenancy.session import set_search_path
from vca.tenancy.tables import list_tables, quote_name
from vca.tenant.recordings.media import tenant_folder

# Dead rows stay until a vacuum. A tenant with more pages of them than this is not reused.
MAX_PAGES = 32

# Every row of the catalogue about the schema, with the transaction that wrote it; the privileges
# of the tenant's role; and the DDL from which a tenant would be created now. NULL if the tenant is
# not in the state of a new one, or has statistics that would change query plans.
_PREPARE_FINGERPRINT = f"""
PREPARE look (text, text, uuid) AS
WITH inside AS (
    SELECT objid FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass
        AND refobjid = to_regnamespace($1) AND classid = 'pg_class'::regclass
), found AS (
    SELECT 'namespace' AS what, xmin FROM pg_namespace WHERE oid = to_regnamespace($1)
    UNION ALL
    SELECT 'object', xmin FROM pg_depend
        WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace($1)
    UNION ALL
    SELECT 'relation', xmin FROM pg_class WHERE oid IN (TABLE inside)
    UNION ALL
    SELECT 'column', xmin FROM pg_attribute WHERE attrelid IN (TABLE inside)
    UNION ALL
    SELECT 'default', xmin FROM pg_attrdef WHERE adrelid IN (TABLE inside)
    UNION ALL
    SELECT 'constraint', xmin FROM pg_constraint WHERE conrelid IN (TABLE inside)
    UNION ALL
    SELECT 'index', i.xmin FROM pg_index i WHERE i.indrelid IN (TABLE inside)
    UNION ALL
    SELECT 'its relation', c.xmin FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid IN (TABLE inside)
    UNION ALL
    SELECT 'trigger', xmin FROM pg_trigger WHERE tgrelid IN (TABLE inside)
    UNION ALL
    SELECT 'policy', xmin FROM pg_policy WHERE polrelid IN (TABLE inside)
    UNION ALL
    SELECT 'rule', xmin FROM pg_rewrite WHERE ev_class IN (TABLE inside)
    UNION ALL
    SELECT 'member', m.xmin FROM pg_auth_members m
        WHERE m.roleid = to_regrole($2) OR m.member = to_regrole($2)
), planned AS (
    SELECT count(*) FILTER (WHERE reltuples >= 0) AS analysed,
        max(pg_relation_size(oid) / current_setting('block_size')::int) AS pages
    FROM pg_class WHERE oid IN (TABLE inside) AND relkind = 'r'
)
SELECT concat_ws(' ',
    (SELECT string_agg(said, ' ' ORDER BY said) FROM (
        SELECT format('%s:%s:%s', what, count(*), sum(xmin::text::bigint)) AS said
        FROM found GROUP BY what) counted),
    (SELECT r::text FROM pg_roles r WHERE r.oid = to_regrole($2)),
    (SELECT d::text FROM public.deployment d),
    (SELECT format('%s %s', revision, xmin) FROM public.tenant_ddl
        ORDER BY installed_at DESC LIMIT 1))
FROM public.tenants t, planned
WHERE t.id = $3 AND t.status = 'active' AND analysed = 0 AND pages <= {MAX_PAGES}
    AND t.schema_revision
        = (SELECT revision FROM public.tenant_ddl ORDER BY installed_at DESC LIMIT 1)
"""

_TENANT_DDL = text("SELECT script FROM public.tenant_ddl ORDER BY installed_at DESC LIMIT 1")
_ROLE_PREFIX = text("SELECT role_prefix FROM public.deployment")
_INSERT_TENANT = """
INSERT INTO public.tenants (id, name, plan, status, external_id, schema_revision)
SELECT %(id)s, %(name)s, %(plan)s, 'active', %(external_id)s, revision
FROM public.tenant_ddl ORDER BY installed_at DESC LIMIT 1
"""


@dataclass(frozen=True)
class PooledTenant:
    """A pooled tenant: SQL of its fingerprint, the fingerprint when new, and SQL to reset it."""

    tenant: TenantRef
    fingerprint_sql: str
    new_fingerprint: str
    reset_sql: str


class TenantPool:
    """The idle tenants of each database of this process; `store` has their recordings."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._idle: dict[str, list[PooledTenant]] = defaultdict(list)
        self._acquired: dict[UUID, tuple[str, PooledTenant]] = {}

    def acquire(self, *, name: str, plan: str, external_id: str | None) -> UUID | None:
        """Reset an idle tenant and return its id; None if there is none."""
        fields = {"name": name, "plan": plan, "external_id": external_id}
        idle = self._idle[admin_db.database_url()]
        while idle:
            pooled = idle.pop()
            with admin_db.public_session() as session:
                if not _reset(session.connection(), pooled, fields):
                    continue
            self._store.delete_all(tenant_folder(pooled.tenant))
            self._acquired[pooled.tenant.id] = admin_db.database_url(), pooled
            return pooled.tenant.id
        return None

    def register(self, tenant_id: UUID) -> None:
        """Record the fingerprint of a new tenant, which allows releasing it to the pool later."""
        if app_services().database.on_citus:
            return
        tenant = TenantRef(tenant_id)
        with admin_db.public_session() as session:
            fingerprint_sql = _fingerprint_sql(session, tenant)
            new_fingerprint = _fingerprint(session.connection(), fingerprint_sql)
            if new_fingerprint is not None:
                self._acquired[tenant_id] = (
                    admin_db.database_url(),
                    PooledTenant(
                        tenant, fingerprint_sql, new_fingerprint, _reset_sql(session, tenant)
                    ),
                )

    def release(self, tenant_ids: Iterable[UUID]) -> None:
        """Return these tenants to the pool."""
        for tenant_id in tenant_ids:
            if tenant_id in self._acquired:
                url, pooled = self._acquired.pop(tenant_id)
                self._idle[url].append(pooled)


def _reset(connection: Connection, pooled: PooledTenant, fields: dict[str, str | None]) -> bool:
    """Reset a tenant. Return False if its fingerprint has changed."""
    if _fingerprint(connection, pooled.fingerprint_sql) != pooled.new_fingerprint:
        return False
    db.execute_script(connection, pooled.reset_sql)
    connection.exec_driver_sql(_INSERT_TENANT, {"id": str(pooled.tenant.id), **fields})
    return True


def _fingerprint(connection: Connection, fingerprint_sql: str) -> str | None:
    """Return the fingerprint. Planning is slow, so each connection prepares the query once."""
    if "look" not in connection.info:
        db.execute_script(connection, _PREPARE_FINGERPRINT)
        connection.info["look"] = True
    row = db.fetch_one(connection, fingerprint_sql, {})
    return row[0] if row else None


def _fingerprint_sql(session: Session, tenant: TenantRef) -> str:
    prefix = session.scalar(_ROLE_PREFIX)
    role = "" if prefix is None else tenant.role(prefix)
    return f"EXECUTE look ('{tenant.schema}', '{role}', '{tenant.id}')"


def _reset_sql(session: Session, tenant: TenantRef) -> str:
    """Return SQL that empties the tenant's tables and inserts the rows that creation inserts."""
    set_search_path(session, tenant.schema)
    script = render_for_tenant(session.execute(_TENANT_DDL).scalar_one(), tenant, grantees="")
    inserts = [
        statement
        for statement in sql_splitter.split_statements(script)
        if statement.startswith("INSERT ")
    ]
    set_path = f"SET LOCAL search_path TO {quote_name(tenant.schema)}"
    return ";\n".join([*_deletions(session, tenant), set_path, *inserts])


def _deletions(session: Session, tenant: TenantRef) -> Iterator[str]:
    """Yield a statement for each table with rows of the tenant; referencing tables come first."""
    for table in reversed(list_tables(session, tenant.schema)):
        yield f"DELETE FROM {quote_name(tenant.schema, table.name)}"
    yield f"DELETE FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = '{tenant.id}'"
    for table in reversed(list_tables(session, "public")):
        if "tenant_id" in table.columns:
            yield f"DELETE FROM {quote_name('public', table.name)} WHERE tenant_id = '{tenant.id}'"
    yield f"DELETE FROM public.rate_buckets WHERE id = '{tenant.id}'"
    yield f"DELETE FROM public.tenants WHERE id = '{tenant.id}'"
