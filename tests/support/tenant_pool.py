"""Tenants that earlier tests have used, made like new: a tenth of the work of making one.

Who takes one cannot tell it from a new one: it has the rows that its creation writes and no others,
in its schema and outside of it. What a test changed in the catalogue is not repaired: such a
tenant, and one that is no longer active, is not used again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from tests.support import admin_db
from vca.kit import db
from vca.kit.storage import Store
from vca.tenancy import citus, sql_splitter
from vca.tenancy.schema import TenantRef, render_for_tenant
from vca.tenancy.session import set_search_path
from vca.tenancy.tables import list_tables, quote_name
from vca.tenant.recordings.media import tenant_folder

# Dead rows stay until somebody vacuums; a tenant that has more of them than this is left alone.
MAX_PAGES = 32

# Every row of the catalogue that is about the schema, by the transaction that wrote it; what the
# tenant may do; and what a tenant that is made now would be made from. NULL: not as when it was
# made, or planned for otherwise.
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
    """A tenant on the shelf: how to look at it, as what it was seen when new, how to empty it."""

    tenant: TenantRef
    fingerprint_sql: str
    new_fingerprint: str
    reset_sql: str


class TenantPool:
    """The used tenants of each database of this process; `store` has their recordings."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._idle: dict[str, list[PooledTenant]] = defaultdict(list)
        self._acquired: dict[UUID, tuple[str, PooledTenant]] = {}

    def acquire(self, *, name: str, plan: str, external_id: str | None) -> UUID | None:
        """A tenant like a new one, if there is any: its id."""
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
        """A tenant that was made just now may be put here later."""
        if citus.is_enabled():
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
        """These tenants' tests are over."""
        for tenant_id in tenant_ids:
            if tenant_id in self._acquired:
                url, pooled = self._acquired.pop(tenant_id)
                self._idle[url].append(pooled)


def _reset(connection: Connection, pooled: PooledTenant, fields: dict[str, str | None]) -> bool:
    """Empty a tenant that looks as it did when it was new; False for one that does not."""
    if _fingerprint(connection, pooled.fingerprint_sql) != pooled.new_fingerprint:
        return False
    db.execute_script(connection, pooled.reset_sql)
    connection.exec_driver_sql(_INSERT_TENANT, {"id": str(pooled.tenant.id), **fields})
    return True


def _fingerprint(connection: Connection, fingerprint_sql: str) -> str | None:
    """Planned once for a connection: planning takes longer than looking."""
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
    """What empties the tenant's tables, and writes what its creation writes."""
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
    """One for each table that has rows of the tenant's; those that refer to others come first."""
    for table in reversed(list_tables(session, tenant.schema)):
        yield f"DELETE FROM {quote_name(tenant.schema, table.name)}"
    yield f"DELETE FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = '{tenant.id}'"
    for table in reversed(list_tables(session, "public")):
        if "tenant_id" in table.columns:
            yield f"DELETE FROM {quote_name('public', table.name)} WHERE tenant_id = '{tenant.id}'"
    yield f"DELETE FROM public.rate_buckets WHERE id = '{tenant.id}'"
    yield f"DELETE FROM public.tenants WHERE id = '{tenant.id}'"
