"""The tenant tree: the models, the compiled script and `create_tenant` make the same schema."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.support import admin_db
from tests.support.ast_index import ROOT
from tests.support.factories import Tenant
from tests.support.schema_dump import dump_schema
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.models import metadata

# The engine's own records of whose the schema is; no product tables.
SELF, IDENTITY = "tenant_self", "tenant_identity"
# What pins a row to its schema's tenant can only stand in the migration: the models serve all.
PINS = ("_tenant_id_check", "settings_one_check")


def _catalogue(tenant: TenantRef) -> set[str]:
    with admin_db.tenant_session(tenant) as session:
        return _anonymous(dump_schema(session.connection(), tenant.schema), tenant.id)


def _anonymous(lines: set[str], tenant_id: UUID | str) -> set[str]:
    return {line.replace(str(tenant_id), "<tenant>") for line in lines}


def _make(connection: Connection, tenant: TenantRef) -> None:
    """A schema of the name, chosen for this transaction."""
    connection.exec_driver_sql(f'CREATE SCHEMA "{tenant.schema}"')
    connection.exec_driver_sql(f'SET LOCAL search_path TO "{tenant.schema}"')


def _grantees(session: Session, tenant: TenantRef) -> str:
    """Makes the role of a tenant that has no row."""
    return str(session.scalar(text("SELECT public.tenant_grantees(:id)"), {"id": tenant.id}))


def _without_pins(lines: set[str]) -> set[str]:
    return {line for line in lines if not any(pin in line for pin in (SELF, IDENTITY, *PINS))}


def _owned(name: str | None, kind: str, _: Any) -> bool:
    return not (kind == "table" and name == SELF)


def test_a_new_tenants_schema_is_what_alembic_finds_in_the_models(acme: Tenant) -> None:
    with admin_db.tenant_session(acme.ref) as session:
        context = MigrationContext.configure(
            session.connection(),
            opts={
                "include_name": _owned,
                "compare_type": True,
                "compare_server_default": True,
                "target_metadata": metadata,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_the_models_alone_make_the_same_tables_checks_and_indexes(acme: Tenant) -> None:
    other = TenantRef(uuid4())
    with admin_db.public_session() as session:
        _make(session.connection(), other)
        metadata.create_all(session.connection())
        by_models = _anonymous(dump_schema(session.connection(), other.schema), other.id)

    assert _without_pins(_catalogue(acme.ref)) ^ by_models == set()
    assert len(by_models) > 80


def test_the_compiled_script_replayed_by_hand_makes_what_create_tenant_makes(acme: Tenant) -> None:
    other = TenantRef(uuid4())
    with admin_db.public_session() as session:
        connection = session.connection()
        _make(connection, other)
        grantees = _grantees(session, other)
        script = schema.render_for_tenant(schema.compile_script(), other, grantees=grantees)
        connection.exec_driver_sql(script, execution_options={"no_parameters": True})
        by_hand = _anonymous(dump_schema(connection, other.schema), other.id)

    assert _catalogue(acme.ref) ^ by_hand == set()
    with admin_db.tenant_session(other) as session:
        assert session.scalar(text("SELECT id FROM tenant_self")) == other.id


def test_alembic_online_makes_what_the_compiled_script_makes(acme: Tenant) -> None:
    other = TenantRef(uuid4())
    config = Config()
    config.set_main_option("script_location", str(ROOT / "tenant_migrations"))
    config.set_main_option("path_separator", "os")
    with admin_db.public_session() as session:
        _make(session.connection(), other)
        # Online a migration grants to whoever the compiled script names.
        session.execute(text(f"CREATE ROLE {schema.GRANTEES_SENTINEL}"))
        config.attributes.update(connection=session.connection(), schema=other.schema)
        command.upgrade(config, "head")
        online = _anonymous(dump_schema(session.connection(), other.schema), schema.TENANT_SENTINEL)
        session.rollback()

    own = {line for line in online if "alembic_version" in line}
    assert _catalogue(acme.ref) ^ (online - own) == set()
    assert own


def test_a_filled_in_script_names_one_tenant_and_no_sentinel(acme: Tenant) -> None:
    script = schema.render_for_tenant(schema.compile_script(), acme.ref, grantees='"somebody"')

    assert acme.id in script
    assert schema.TENANT_SENTINEL not in script
    assert schema.SCHEMA_SENTINEL not in script
    assert schema.GRANTEES_SENTINEL not in script
    assert schema.compile_script(after_revision=schema.head()) == ""


def test_two_tenants_have_equal_schemas_apart_from_their_ids(acme: Tenant, globex: Tenant) -> None:
    assert _catalogue(acme.ref) == _catalogue(globex.ref)


# --- What every table of a tenant has --------------------------------------------------------

_TABLES = """
SELECT t.relname, a.attname IS NOT NULL, a.attnotnull, d.oid IS NOT NULL,
       format_type(a.atttypid, NULL),
       (SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c
        WHERE c.conrelid = t.oid AND c.conname = t.relname || '_tenant_id_check'),
       (SELECT array_agg(format_type(k.atttypid, NULL) ORDER BY k.attnum)
        FROM pg_constraint c JOIN pg_attribute k
          ON k.attrelid = t.oid AND k.attnum = ANY (c.conkey)
        WHERE c.conrelid = t.oid AND c.contype = 'p')
FROM pg_class t
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'tenant_id'
LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
WHERE t.relnamespace = to_regnamespace(:schema) AND t.relkind IN ('r', 'p')
"""


def _tables(tenant: Tenant) -> list[Any]:
    with admin_db.tenant_session(tenant.ref) as session:
        found = session.execute(text(_TABLES), {"schema": tenant.ref.schema}).all()
    return [row for row in found if row[0] != SELF]


def test_every_table_says_whose_each_row_is_and_has_no_default_for_it(acme: Tenant) -> None:
    for table, has_it, not_null, has_default, kind, _, _ in _tables(acme):
        assert has_it, table
        assert (not_null, has_default, kind) == (True, False, "uuid"), table
    assert len(_tables(acme)) == len(metadata.tables)


def test_every_table_pins_its_rows_to_the_schemas_tenant(acme: Tenant) -> None:
    for table, *_, pin, _ in _tables(acme):
        assert pin == f"CHECK ((tenant_id = '{acme.id}'::uuid))", table


def test_every_table_has_a_primary_key_that_begins_with_a_uuid(acme: Tenant) -> None:
    for table, *_, key in _tables(acme):
        assert key, f"{table} has no primary key"
        assert "uuid" in key, table
        assert set(key) <= {"uuid", "integer"}, table
        assert key.count("integer") <= 1, table


def test_a_row_cannot_land_in_another_tenants_schema(acme: Tenant, globex: Tenant) -> None:
    acme.profile()
    with (
        pytest.raises(IntegrityError, match="ai_profiles_tenant_id_check"),
        tenant_session(acme.ref) as session,
    ):
        session.execute(text("UPDATE ai_profiles SET tenant_id = :id"), {"id": globex.id})


def test_every_constraint_and_index_is_named_after_its_table(acme: Tenant) -> None:
    for line in _catalogue(acme.ref):
        kind, name, *rest = line.split()
        if kind == "constraint":
            assert rest[0].startswith(f"{name}_"), line
        elif kind == "index":
            unique = name == "CREATE" and rest[0] == "UNIQUE"
            index, table = (rest[2], rest[4]) if unique else (rest[1], rest[3])
            assert index.startswith(f"{table}_"), line


def test_public_tables_have_primary_keys_and_no_triggers(acme: Tenant) -> None:
    without = text(
        "SELECT relname FROM pg_class t WHERE relnamespace = 'public'::regnamespace"
        " AND relkind = 'r' AND NOT EXISTS"
        " (SELECT 1 FROM pg_constraint WHERE conrelid = t.oid AND contype = 'p')"
    )
    with admin_db.public_session() as session:
        assert session.scalars(without).all() == []
        lines = dump_schema(session.connection(), "public")
        assert [line for line in lines if line.startswith("trigger")] == []
