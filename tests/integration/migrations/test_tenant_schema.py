"""Tests that models, compiled script and tenant creation create the same tenant schema."""

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
from tests.support.services import app_services
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.models import metadata

# Tables that record the tenant of the schema; the models do not define them.
SELF_TABLE, IDENTITY_TABLE = "tenant_self", "tenant_identity"
# Constraints that contain the tenant's id. Only migrations create them, because all tenants share
# the models.
TENANT_CONSTRAINTS = ("_tenant_id_check", "settings_one_check")


def _dump_tenant(tenant: TenantRef) -> set[str]:
    with admin_db.tenant_session(tenant) as session:
        return _without_tenant_id(dump_schema(session.connection(), tenant.schema), tenant.id)


def _without_tenant_id(lines: set[str], tenant_id: UUID | str) -> set[str]:
    return {line.replace(str(tenant_id), "<tenant>") for line in lines}


def _create_schema(connection: Connection, tenant: TenantRef) -> None:
    """Create the tenant's schema and set it as the search path of this transaction."""
    connection.exec_driver_sql(f'CREATE SCHEMA "{tenant.schema}"')
    connection.exec_driver_sql(f'SET LOCAL search_path TO "{tenant.schema}"')


def _grantees(session: Session, tenant: TenantRef) -> str:
    """Create the role of a tenant that has no row, and return the grantees."""
    return str(session.scalar(text("SELECT public.tenant_grantees(:id)"), {"id": tenant.id}))


def _without_tenant_constraints(lines: set[str]) -> set[str]:
    return {
        line
        for line in lines
        if not any(name in line for name in (SELF_TABLE, IDENTITY_TABLE, *TENANT_CONSTRAINTS))
    }


def _is_product_object(name: str | None, kind: str, _: Any) -> bool:
    return not (kind == "table" and name == SELF_TABLE)


def test_a_new_tenant_schema_equals_the_models(acme: Tenant) -> None:
    with admin_db.tenant_session(acme.ref) as session:
        context = MigrationContext.configure(
            session.connection(),
            opts={
                "include_name": _is_product_object,
                "compare_type": True,
                "compare_server_default": True,
                "target_metadata": metadata,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_models_and_migrations_create_the_same_tables_and_indexes(acme: Tenant) -> None:
    other_tenant = TenantRef(uuid4())
    with admin_db.public_session() as session:
        _create_schema(session.connection(), other_tenant)
        metadata.create_all(session.connection())
        model_schema = _without_tenant_id(
            dump_schema(session.connection(), other_tenant.schema), other_tenant.id
        )

    assert _without_tenant_constraints(_dump_tenant(acme.ref)) ^ model_schema == set()
    assert len(model_schema) > 80


def test_the_compiled_script_creates_the_schema_that_create_tenant_creates(acme: Tenant) -> None:
    other_tenant = TenantRef(uuid4())
    with admin_db.public_session() as session:
        connection = session.connection()
        _create_schema(connection, other_tenant)
        grantees = _grantees(session, other_tenant)
        script = schema.render_for_tenant(
            schema.compile_script(for_citus=False), other_tenant, grantees=grantees
        )
        connection.exec_driver_sql(script, execution_options={"no_parameters": True})
        script_schema = _without_tenant_id(
            dump_schema(connection, other_tenant.schema), other_tenant.id
        )

    assert _dump_tenant(acme.ref) ^ script_schema == set()
    with admin_db.tenant_session(other_tenant) as session:
        assert session.scalar(text("SELECT id FROM tenant_self")) == other_tenant.id


def test_alembic_online_creates_the_schema_of_the_compiled_script(acme: Tenant) -> None:
    other_tenant = TenantRef(uuid4())
    config = Config()
    config.set_main_option("script_location", str(ROOT / "tenant_migrations"))
    config.set_main_option("path_separator", "os")
    with admin_db.public_session() as session:
        _create_schema(session.connection(), other_tenant)
        # An online migration grants to the role that the compiled script names.
        session.execute(text(f"CREATE ROLE {schema.GRANTEES_SENTINEL}"))
        config.attributes.update(connection=session.connection(), schema=other_tenant.schema)
        command.upgrade(config, "head")
        online_schema = _without_tenant_id(
            dump_schema(session.connection(), other_tenant.schema), schema.TENANT_SENTINEL
        )
        session.rollback()

    alembic_lines = {line for line in online_schema if "alembic_version" in line}
    assert _dump_tenant(acme.ref) ^ (online_schema - alembic_lines) == set()
    assert alembic_lines


def test_a_rendered_script_names_one_tenant_and_has_no_sentinel(acme: Tenant) -> None:
    script = schema.render_for_tenant(
        schema.compile_script(for_citus=False), acme.ref, grantees='"somebody"'
    )

    assert acme.id in script
    assert schema.TENANT_SENTINEL not in script
    assert schema.SCHEMA_SENTINEL not in script
    assert schema.GRANTEES_SENTINEL not in script
    assert schema.compile_script(for_citus=False, after_revision=schema.head()) == ""


def test_schemas_of_two_tenants_differ_only_in_the_tenant_id(acme: Tenant, globex: Tenant) -> None:
    assert _dump_tenant(acme.ref) == _dump_tenant(globex.ref)


# --- Required columns and constraints of tenant tables ---------------------------------------

_TABLES_SQL = """
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


def _table_rows(tenant: Tenant) -> list[Any]:
    with admin_db.tenant_session(tenant.ref) as session:
        rows = session.execute(text(_TABLES_SQL), {"schema": tenant.ref.schema}).all()
    return [row for row in rows if row[0] != SELF_TABLE]


def test_every_table_has_a_tenant_id_column_without_a_default(acme: Tenant) -> None:
    for table, has_column, not_null, has_default, column_type, _, _ in _table_rows(acme):
        assert has_column, table
        assert (not_null, has_default, column_type) == (True, False, "uuid"), table
    assert len(_table_rows(acme)) == len(metadata.tables)


def test_every_table_accepts_only_rows_of_the_schemas_tenant(acme: Tenant) -> None:
    for table, *_, constraint, _ in _table_rows(acme):
        assert constraint == f"CHECK ((tenant_id = '{acme.id}'::uuid))", table


def test_every_table_has_a_primary_key_with_a_uuid(acme: Tenant) -> None:
    for table, *_, key in _table_rows(acme):
        assert key, f"{table} has no primary key"
        assert "uuid" in key, table
        assert set(key) <= {"uuid", "integer"}, table
        assert key.count("integer") <= 1, table


def test_a_row_cannot_have_the_id_of_another_tenant(acme: Tenant, globex: Tenant) -> None:
    acme.profile()
    with (
        pytest.raises(IntegrityError, match="ai_profiles_tenant_id_check"),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        session.execute(text("UPDATE ai_profiles SET tenant_id = :id"), {"id": globex.id})


def test_every_constraint_and_index_is_named_after_its_table(acme: Tenant) -> None:
    for line in _dump_tenant(acme.ref):
        kind, name, *rest = line.split()
        if kind == "constraint":
            assert rest[0].startswith(f"{name}_"), line
        elif kind == "index":
            unique = name == "CREATE" and rest[0] == "UNIQUE"
            index, table = (rest[2], rest[4]) if unique else (rest[1], rest[3])
            assert index.startswith(f"{table}_"), line


def test_public_tables_have_primary_keys_and_no_triggers(acme: Tenant) -> None:
    without_primary_key_sql = text(
        "SELECT relname FROM pg_class t WHERE relnamespace = 'public'::regnamespace"
        " AND relkind = 'r' AND NOT EXISTS"
        " (SELECT 1 FROM pg_constraint WHERE conrelid = t.oid AND contype = 'p')"
    )
    with admin_db.public_session() as session:
        assert session.scalars(without_primary_key_sql).all() == []
        lines = dump_schema(session.connection(), "public")
        assert [line for line in lines if line.startswith("trigger")] == []
