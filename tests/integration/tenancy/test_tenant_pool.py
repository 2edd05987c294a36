"""Tests of the tenant pool: a reused tenant is indistinguishable from a new one."""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import text

from tests.support import admin_db
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform
from tests.support.populated_tenant import SignedCarrierClient, populate_tenant
from tests.support.services import app_services
from tests.support.tenant_pool import MAX_PAGES, TenantPool
from vca.app import recording_store
from vca.kit import clock
from vca.kit.db.copy_driver import BulkDatabase
from vca.registry.tenants import service as tenants
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import schema, schema_comparison
from vca.tenancy.session import public_session

# All tables except those of other tenants.
_TABLES_SQL = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND (n.nspname !~ '^t_[0-9a-f]{32}$' OR n.nspname = %s)
ORDER BY 1
"""
_ROWS_SQL = """
SELECT to_jsonb(t) FROM {table} t
WHERE '{table}' LIKE '{schema}.%%' OR replace(to_jsonb(t)::text, '-', '') LIKE '%%{hex}%%'
"""

# Changes of a tenant that prevent its reuse.
CHANGES = {
    "an added column": "ALTER TABLE turns ADD COLUMN more text",
    "a dropped column": "ALTER TABLE turns DROP COLUMN heard_text",
    "an added default": "ALTER TABLE turns ALTER COLUMN heard_text SET DEFAULT ''",
    "a changed default": "ALTER TABLE turns ALTER COLUMN actions SET DEFAULT '[1]'",
    "a dropped default": "ALTER TABLE turns ALTER COLUMN actions DROP DEFAULT",
    "a nullable column": "ALTER TABLE turns ALTER COLUMN text DROP NOT NULL",
    "a changed column type": "ALTER TABLE turns ALTER COLUMN text TYPE varchar",
    "a dropped constraint": "ALTER TABLE turns DROP CONSTRAINT turns_speaker_check",
    "an added constraint": "ALTER TABLE turns ADD CHECK (sequence < 9)",
    "an added index": "CREATE INDEX ON turns (text)",
    "a dropped index": "DROP INDEX calls_live_idx",
    "a renamed index": "ALTER INDEX calls_live_idx RENAME TO calls_idx",
    "an added table": "CREATE TABLE more ()",
    "a dropped table": "DROP TABLE turns",
    "a renamed table": "ALTER TABLE turns RENAME TO moves",
    "a view": "CREATE VIEW more AS SELECT",
    "a sequence": "CREATE SEQUENCE more",
    "a type": "CREATE TYPE more AS ENUM ()",
    "a function": "CREATE FUNCTION more() RETURNS void LANGUAGE sql AS ''",
    "a rule": "CREATE RULE deaf AS ON INSERT TO turns DO INSTEAD NOTHING",
    "a trigger": "CREATE TRIGGER t BEFORE UPDATE ON turns FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "row level security": "ALTER TABLE turns ENABLE ROW LEVEL SECURITY",
    "a policy": "CREATE POLICY few ON turns USING (false)",
    "an added privilege": "GRANT TRUNCATE ON turns TO {role}",
    "a revoked privilege": "REVOKE SELECT ON turns FROM {role}",
    "a privilege on a column": "GRANT REFERENCES (text) ON turns TO {role}",
    "a privilege on the schema": "GRANT CREATE ON SCHEMA {schema} TO {role}",
    "a role with login": "ALTER ROLE {role} LOGIN",
    "a role with a setting": "ALTER ROLE {role} SET work_mem TO '1MB'",
    "a revoked role membership": "REVOKE {role} FROM vca_web",
    "a truncated table": "TRUNCATE turns",
    "an analysed table": "ANALYZE settings",
    "many dead rows": "INSERT INTO outbound_legs (id, tenant_id, kind, number)"
    " SELECT gen_random_uuid(), '{id}', 'call', repeat('x', 1000)"
    f" FROM generate_series(1, {8 * (MAX_PAGES + 1)})",
    "another revision": "UPDATE public.tenants SET schema_revision = '0001' WHERE id = '{id}'",
    "suspended": "UPDATE public.tenants SET status = 'suspended' WHERE id = '{id}'",
    "deleted": "UPDATE public.tenants SET status = 'deleted' WHERE id = '{id}'",
}

_REPAIR_SQL = """
UPDATE public.tenants SET schema_revision = :revision, status = 'active' WHERE id = :id
"""


@pytest.fixture
def tenant_pool(settings: Settings) -> TenantPool:
    """Return an empty pool."""
    return TenantPool(recording_store(settings))


@pytest.fixture
def pool_factory(app: Flask, tenant_pool: TenantPool) -> Factory:
    """Return a factory of tenants that uses the pool."""
    return Factory(app, tenant_pool)


def test_an_acquired_tenant_has_the_same_rows_and_schema_as_a_new_one(
    tenant_pool: TenantPool,
    pool_factory: Factory,
    platform: Platform,
    carrier: FakeTelephonyAdapter,
    db_snapshot: SnapshotChecker,
    settings: Settings,
) -> None:
    first = populate_tenant(
        pool_factory, platform, SignedCarrierClient(pool_factory, carrier), "acme"
    ).tenant
    platform.api.patch(first.url(), {"plan": "growth"})
    first.post(
        "/simulations", {"to": first.number()["did_number"]}, headers={"Idempotency-Key": "k"}
    )
    used_rows = _rows(db_snapshot, UUID(first.id), clock.now())
    folder = Path(settings.recording_store.partition(":")[2]) / first.ref.id.hex
    assert all(rows for table, rows in used_rows.items() if table.startswith("<tenant>"))
    assert {"public.tenants", "public.dids", "public.api_keys"} <= {
        table for table, rows in used_rows.items() if rows
    }
    assert any(folder.rglob("*"))
    pool_factory.release_tenants()
    released_at = clock.now()

    acquired_id = tenant_pool.acquire(name="Globex", plan="starter", external_id=None)

    assert acquired_id == UUID(first.id)
    with public_session(database=app_services().database) as session:
        new_id = tenants.create(session, name="Globex").id
    assert _rows(db_snapshot, acquired_id, released_at) == _rows(db_snapshot, new_id, released_at)
    assert _schema_lines(acquired_id) == _schema_lines(new_id)
    assert not any(folder.rglob("*"))


def test_a_reused_tenant_has_the_requested_fields_and_no_old_data(
    tenant_pool: TenantPool, pool_factory: Factory, platform: Platform
) -> None:
    first = pool_factory.tenant()
    first.profile()
    pool_factory.release_tenants()

    reused = pool_factory.tenant("Globex", plan="growth", external_id=first.key)

    assert reused.id == first.id
    assert first.get().status_code == 401
    response_body = platform.api.get(reused.url()).json
    expected = {"name": "Globex", "plan": "growth", "external_id": first.key, "status": "active"}
    assert expected.items() <= response_body.items()
    assert reused.get("/ai-profiles").json == []
    assert len(reused.get("/api-keys").json) == 1


def test_a_tenant_in_use_is_not_acquired_again(
    tenant_pool: TenantPool, pool_factory: Factory
) -> None:
    acme = pool_factory.tenant()

    assert pool_factory.tenant().id != acme.id
    pool_factory.release_tenants()
    assert len({pool_factory.tenant().id for _ in range(3)}) == 3


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_tenant_is_not_reused(
    change: str, tenant_pool: TenantPool, pool_factory: Factory
) -> None:
    tenant = pool_factory.tenant()
    pool_factory.release_tenants()
    role = tenant.ref.role("vca_")
    statement = CHANGES[change].format(id=tenant.id, schema=tenant.ref.schema, role=role)
    with admin_db.tenant_session(tenant.ref) as session:
        session.execute(text(statement))

    assert tenant_pool.acquire(name="Acme", plan="starter", external_id=None) is None
    # Other tests count tenants by revision and status.
    with admin_db.public_session() as session:
        session.execute(text(_REPAIR_SQL), {"id": tenant.id, "revision": schema.head()})


def _rows(db_snapshot: SnapshotChecker, tenant_id: UUID, since: datetime) -> dict[str, list[Any]]:
    """Return every row that names a tenant or is in its schema, with a placeholder for its id."""
    schema = f"t_{tenant_id.hex}"
    names = {"schema": schema, "hex": tenant_id.hex}
    return {
        table.replace(schema, "<tenant>"): sorted(
            (_with_placeholders(row, tenant_id, since) for (row,) in rows), key=str
        )
        for (table,) in db_snapshot.rows(_TABLES_SQL, schema)
        for rows in [db_snapshot.rows(_ROWS_SQL.format(table=table, **names))]
    }


def _with_placeholders(row: dict[str, Any], tenant_id: UUID, since: datetime) -> dict[str, Any]:
    return {
        name: "<now>" if _is_after(value, since) else str(value).replace(str(tenant_id), "<id>")
        for name, value in row.items()
    }


def _is_after(value: Any, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(value) >= since
    except (TypeError, ValueError):
        return False


def _schema_lines(tenant_id: UUID) -> frozenset[str]:
    database = BulkDatabase(admin_db.database_url())
    return schema_comparison.schema_fingerprint(database, f"t_{tenant_id.hex}").lines
