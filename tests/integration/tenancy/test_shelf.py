"""A tenant that is used again is like a new one, or it is not used again."""

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
from tests.support.tenant_pool import MAX_PAGES, TenantPool
from vca.app import recording_store
from vca.kit import clock
from vca.registry.tenants import service as tenants
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import schema, schema_comparison
from vca.tenancy.session import public_session

# Every table there is, but for those of other tenants.
_TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND (n.nspname !~ '^t_[0-9a-f]{32}$' OR n.nspname = %s)
ORDER BY 1
"""
_ROWS = """
SELECT to_jsonb(t) FROM {table} t
WHERE '{table}' LIKE '{schema}.%%' OR replace(to_jsonb(t)::text, '-', '') LIKE '%%{hex}%%'
"""
PLAIN = {"plan": "starter", "external_id": None}

# What a test may have done to a tenant that another test must not find.
CHANGES = {
    "a column more": "ALTER TABLE turns ADD COLUMN more text",
    "a column less": "ALTER TABLE turns DROP COLUMN heard_text",
    "a default more": "ALTER TABLE turns ALTER COLUMN heard_text SET DEFAULT ''",
    "another default": "ALTER TABLE turns ALTER COLUMN actions SET DEFAULT '[1]'",
    "a default less": "ALTER TABLE turns ALTER COLUMN actions DROP DEFAULT",
    "a column that may be null": "ALTER TABLE turns ALTER COLUMN text DROP NOT NULL",
    "another type": "ALTER TABLE turns ALTER COLUMN text TYPE varchar",
    "a constraint less": "ALTER TABLE turns DROP CONSTRAINT turns_speaker_check",
    "a constraint more": "ALTER TABLE turns ADD CHECK (sequence < 9)",
    "an index more": "CREATE INDEX ON turns (text)",
    "an index less": "DROP INDEX calls_live_idx",
    "an index of another name": "ALTER INDEX calls_live_idx RENAME TO calls_idx",
    "a table more": "CREATE TABLE more ()",
    "a table less": "DROP TABLE turns",
    "a table of another name": "ALTER TABLE turns RENAME TO moves",
    "a view": "CREATE VIEW more AS SELECT",
    "a sequence": "CREATE SEQUENCE more",
    "a type": "CREATE TYPE more AS ENUM ()",
    "a function": "CREATE FUNCTION more() RETURNS void LANGUAGE sql AS ''",
    "a rule": "CREATE RULE deaf AS ON INSERT TO turns DO INSTEAD NOTHING",
    "a trigger": "CREATE TRIGGER t BEFORE UPDATE ON turns FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "security of rows": "ALTER TABLE turns ENABLE ROW LEVEL SECURITY",
    "a policy": "CREATE POLICY few ON turns USING (false)",
    "a right more": "GRANT TRUNCATE ON turns TO {role}",
    "a right less": "REVOKE SELECT ON turns FROM {role}",
    "a right to a column": "GRANT REFERENCES (text) ON turns TO {role}",
    "a right to the schema": "GRANT CREATE ON SCHEMA {schema} TO {role}",
    "a role that may log in": "ALTER ROLE {role} LOGIN",
    "a role with a setting": "ALTER ROLE {role} SET work_mem TO '1MB'",
    "a role that others lost": "REVOKE {role} FROM vca_web",
    "another file": "TRUNCATE turns",
    "a plan from statistics": "ANALYZE settings",
    "many dead rows": "INSERT INTO outbound_legs (id, tenant_id, kind, number)"
    " SELECT gen_random_uuid(), '{id}', 'call', repeat('x', 1000)"
    f" FROM generate_series(1, {8 * (MAX_PAGES + 1)})",
    "another revision": "UPDATE public.tenants SET schema_revision = '0001' WHERE id = '{id}'",
    "suspended": "UPDATE public.tenants SET status = 'suspended' WHERE id = '{id}'",
    "deleted": "UPDATE public.tenants SET status = 'deleted' WHERE id = '{id}'",
}

_IN_ORDER = """
UPDATE public.tenants SET schema_revision = :revision, status = 'active' WHERE id = :id
"""


@pytest.fixture
def tenant_pool(settings: Settings) -> TenantPool:
    """A shelf with nothing on it."""
    return TenantPool(recording_store(settings))


@pytest.fixture
def pool_factory(app: Flask, tenant_pool: TenantPool) -> Factory:
    """Makes tenants for that shelf."""
    return Factory(app, tenant_pool)


def test_a_used_tenant_is_given_out_like_a_new_one(
    tenant_pool: TenantPool,
    pool_factory: Factory,
    platform: Platform,
    carrier: FakeTelephonyAdapter,
    db_snapshot: SnapshotChecker,
    settings: Settings,
) -> None:
    used = populate_tenant(
        pool_factory, platform, SignedCarrierClient(pool_factory, carrier), "acme"
    ).tenant
    platform.api.patch(used.url(), {"plan": "growth"})
    used.post("/simulations", {"to": used.number()["did_number"]}, headers={"Idempotency-Key": "k"})
    dirty = _rows(db_snapshot, UUID(used.id), clock.now())
    folder = Path(settings.recording_store.partition(":")[2]) / used.ref.id.hex
    assert all(rows for table, rows in dirty.items() if table.startswith("<tenant>"))
    assert {"public.tenants", "public.dids", "public.api_keys"} <= {
        table for table, rows in dirty.items() if rows
    }
    assert any(folder.rglob("*"))
    pool_factory.release_tenants()
    asked_at = clock.now()

    found = tenant_pool.acquire(name="Globex", **PLAIN)

    assert found == UUID(used.id)
    with public_session() as session:
        new = tenants.create(session, name="Globex").id
    assert _rows(db_snapshot, found, asked_at) == _rows(db_snapshot, new, asked_at)
    assert _shape(found) == _shape(new)
    assert not any(folder.rglob("*"))


def test_it_bears_what_is_asked_for_and_is_as_new_to_the_api(
    tenant_pool: TenantPool, pool_factory: Factory, platform: Platform
) -> None:
    used = pool_factory.tenant()
    used.profile()
    pool_factory.release_tenants()

    again = pool_factory.tenant("Globex", plan="growth", external_id=used.key)

    assert again.id == used.id
    assert used.get().status_code == 401
    shown = platform.api.get(again.url()).json
    wanted = {"name": "Globex", "plan": "growth", "external_id": used.key, "status": "active"}
    assert wanted.items() <= shown.items()
    assert again.get("/ai-profiles").json == []
    assert len(again.get("/api-keys").json) == 1


def test_nobody_gets_a_tenant_that_is_in_use(
    tenant_pool: TenantPool, pool_factory: Factory
) -> None:
    acme = pool_factory.tenant()

    assert pool_factory.tenant().id != acme.id
    pool_factory.release_tenants()
    assert len({pool_factory.tenant().id for _ in range(3)}) == 3


@pytest.mark.parametrize("change", CHANGES)
def test_a_tenant_that_is_not_as_it_was_is_not_used_again(
    change: str, tenant_pool: TenantPool, pool_factory: Factory
) -> None:
    used = pool_factory.tenant()
    pool_factory.release_tenants()
    role = used.ref.role("vca_")
    statement = CHANGES[change].format(id=used.id, schema=used.ref.schema, role=role)
    with admin_db.tenant_session(used.ref) as session:
        session.execute(text(statement))

    assert tenant_pool.acquire(name="Acme", **PLAIN) is None
    with admin_db.public_session() as session:  # whoever counts tenants finds it in order
        session.execute(text(_IN_ORDER), {"id": used.id, "revision": schema.head()})


def _rows(evidence: SnapshotChecker, tenant_id: UUID, since: datetime) -> dict[str, list[Any]]:
    """Every row in the database that names a tenant or is in its schema, but for who it is."""
    schema = f"t_{tenant_id.hex}"
    names = {"schema": schema, "hex": tenant_id.hex}
    return {
        table.replace(schema, "<tenant>"): sorted(
            (_plain(row, tenant_id, since) for (row,) in found), key=str
        )
        for (table,) in evidence.rows(_TABLES, schema)
        for found in [evidence.rows(_ROWS.format(table=table, **names))]
    }


def _plain(row: dict[str, Any], tenant_id: UUID, since: datetime) -> dict[str, Any]:
    return {
        name: "<now>" if _is_after(value, since) else str(value).replace(str(tenant_id), "<id>")
        for name, value in row.items()
    }


def _is_after(value: Any, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(value) >= since
    except (TypeError, ValueError):
        return False


def _shape(tenant_id: UUID) -> frozenset[str]:
    with admin_db.open_database() as database:
        return schema_comparison.schema_fingerprint(database, f"t_{tenant_id.hex}").lines
