"""Tests that Citus could shard tenant schemas, and that the setup script has an accepted form.

No Citus runs in these tests. They compare its rules with the catalogue and the script. A fake
of Citus records the functions that the product calls.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import Connection, make_url, text

from tests.support.citus import RULES, broken_rules, unnamed_constraints
from tests.support.factories import Factory, Tenant
from tests.support.schema_dump import dump_schema
from tests.support.services import app_services, use_database
from vca.registry import schema as registry
from vca.registry.deployment import Deployment
from vca.registry.tenants import service as tenants
from vca.tenancy import citus, schema, sql_splitter
from vca.tenancy.database import TenantDatabase
from vca.tenancy.roles import Roles
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import owner_session, public_session, tenant_session

# --- Rules of Citus ----------------------------------------------------------------------------


def test_a_tenant_schema_breaks_no_rule(acme: Tenant, owner_database: TenantDatabase) -> None:
    with owner_session(acme.ref, database=owner_database) as session:
        assert broken_rules(session.connection(), acme.ref.schema) == {}
        assert dump_schema(session.connection(), acme.ref.schema)


# A statement for each rule that breaks only this rule.
VIOLATIONS = {
    "every table has a primary key": "CREATE TABLE bad (id uuid)",
    "primary keys begin with a uuid": (
        "CREATE TABLE bad (id text, CONSTRAINT bad_pkey PRIMARY KEY (id))"
    ),
    "nothing counts": "ALTER TABLE good ADD COLUMN x bigint GENERATED ALWAYS AS IDENTITY",
    "constraints are named by the convention": (
        "ALTER TABLE good ADD CHECK (tenant_id IS NOT NULL), ADD CHECK (tenant_id IS NOT NULL)"
    ),
    "nothing is triggered": (
        "CREATE TRIGGER bad BEFORE UPDATE ON good FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "foreign keys stay in the schema": (
        "ALTER TABLE good ADD CONSTRAINT good_tenant_id_fkey"
        " FOREIGN KEY (tenant_id) REFERENCES public.tenants (id)"
    ),
    "nobody outside refers to it": (
        "CREATE TABLE public.bad (id uuid CONSTRAINT bad_id_fkey REFERENCES good (id))"
    ),
    "every table is logged": "ALTER TABLE good SET UNLOGGED",
    "nothing inherits": ("CREATE TABLE bad (CONSTRAINT bad_pkey PRIMARY KEY (id)) INHERITS (good)"),
    "there are tables only": "CREATE VIEW bad AS SELECT id FROM good",
}
MORE_VIOLATIONS = [
    ("nothing counts", "ALTER TABLE good ADD COLUMN x serial"),
    ("nothing counts", "CREATE SEQUENCE bad"),
    ("constraints are named by the convention", "ALTER TABLE good ADD CONSTRAINT x UNIQUE (id)"),
    ("there are tables only", "CREATE FUNCTION bad() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("there are tables only", "CREATE MATERIALIZED VIEW bad AS SELECT id FROM good"),
]
_TABLE_SQL = "CREATE TABLE good (id uuid, tenant_id uuid, CONSTRAINT good_pkey PRIMARY KEY (id))"


@pytest.mark.parametrize(("rule", "violation"), [*VIOLATIONS.items(), *MORE_VIOLATIONS])
def test_a_schema_that_breaks_a_rule_is_detected(
    owner_database: TenantDatabase, rule: str, violation: str
) -> None:
    tenant = TenantRef(uuid4())
    with public_session(database=owner_database) as session:
        connection = session.connection()
        _create_schema(connection, tenant)
        connection.exec_driver_sql(_TABLE_SQL)
        assert broken_rules(connection, tenant.schema) == {}

        connection.exec_driver_sql(violation)
        broken = broken_rules(connection, tenant.schema)
        session.rollback()

    assert list(broken) == [rule]


def test_every_rule_has_a_statement_that_breaks_it() -> None:
    assert set(VIOLATIONS) == set(RULES)


def test_the_script_names_each_constraint_and_adds_none_with_a_column() -> None:
    script = list(sql_splitter.split_statements(schema.compile_script(for_citus=False)))

    assert list(unnamed_constraints(script)) == []
    assert len(script) > 10


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE bad (id uuid PRIMARY KEY)",
        "CREATE TABLE bad (id uuid, UNIQUE (id))",
        "CREATE TABLE bad (id uuid CHECK (id IS NOT NULL))",
        "CREATE TABLE bad (id uuid REFERENCES good (id))",
        "ALTER TABLE bad ADD CHECK (id IS NOT NULL)",
        "ALTER TABLE bad ADD FOREIGN KEY (id) REFERENCES good (id)",
        "ALTER TABLE bad ADD COLUMN x int CONSTRAINT bad_x_check CHECK (x > 0)",
        "ALTER TABLE bad ADD COLUMN x uuid REFERENCES good (id)",
    ],
)
def test_a_constraint_without_a_name_is_detected(statement: str) -> None:
    assert list(unnamed_constraints([statement])) == [statement]


# --- Form of the setup script ------------------------------------------------------------------


def _create_schema(connection: Connection, tenant: TenantRef) -> None:
    """Create the tenant's schema and set it as the search path of this transaction."""
    connection.exec_driver_sql(f'CREATE SCHEMA "{tenant.schema}"')
    connection.exec_driver_sql(f'SET LOCAL search_path TO "{tenant.schema}"')


def _schema_without_tenant_id(connection: Connection, tenant: TenantRef) -> set[str]:
    lines = dump_schema(connection, tenant.schema)
    return {line.replace(str(tenant.id), "<tenant>") for line in lines}


def test_the_do_block_creates_the_same_schema_as_the_plain_script(
    acme: Tenant, owner_database: TenantDatabase
) -> None:
    other_tenant = TenantRef(uuid4())
    script = schema.compile_script(for_citus=False)
    with public_session(database=owner_database) as session:
        connection = session.connection()
        grantees = session.scalar(
            text("SELECT public.tenant_grantees(:id)"), {"id": other_tenant.id}
        )
        block = schema.render_for_tenant(
            schema.wrap_in_do_block(script), other_tenant, grantees=str(grantees)
        )
        _create_schema(connection, other_tenant)
        connection.exec_driver_sql(block, execution_options={"no_parameters": True})
        block_schema = _schema_without_tenant_id(connection, other_tenant)
    with owner_session(acme.ref, database=owner_database) as session:
        script_schema = _schema_without_tenant_id(session.connection(), acme.ref)

    assert block_schema ^ script_schema == set()
    assert len(script_schema) > 80
    with owner_session(other_tenant, database=owner_database) as session:
        assert session.scalar(text("SELECT id FROM tenant_self")) == other_tenant.id
    assert [line.partition(" ")[0] for line in sql_splitter.split_statements(block)] == ["DO"]


# --- Statements for Citus ----------------------------------------------------------------------

# The part of Citus that the product uses: a list of tables, and a function that adds to the list.
FAKE_CITUS_SQL = """
CREATE TABLE citus_tables (
    n serial, table_name regclass, citus_table_type text, had_tenants bigint
);
CREATE FUNCTION create_reference_table(given text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO citus_tables (table_name, citus_table_type, had_tenants)
    SELECT given::regclass, 'reference', count(*) FROM public.tenants;
END $$;
"""
_REFERENCES_SQL = text("SELECT table_name::text, had_tenants FROM public.citus_tables ORDER BY n")


@pytest.fixture
def citus_database(app: Flask, empty_database: TenantDatabase) -> Iterator[TenantDatabase]:
    """Install the fake of Citus in a database and enable Citus in this process."""
    with public_session(database=empty_database) as session:
        session.execute(text(FAKE_CITUS_SQL))
    login = make_url(empty_database.dsn).username or ""
    roles = Roles(None, login, login)
    database = use_database(TenantDatabase(empty_database.dsn, roles=roles, on_citus=True))
    yield database
    database.close()


def _upgrade_public_schema(citus_database: TenantDatabase) -> None:
    registry.upgrade_public_schema(
        citus_database, Deployment("development", "", app_services().database.roles)
    )


def _reference_tables() -> list[Any]:
    with public_session(database=app_services().database) as session:
        return [tuple(row) for row in session.execute(_REFERENCES_SQL)]


def test_reference_tables_are_created_once_and_before_the_first_tenant(
    citus_database: TenantDatabase,
) -> None:
    _upgrade_public_schema(citus_database)
    with public_session(database=app_services().database) as session:
        tenants.create(session, name="Acme")

    _upgrade_public_schema(citus_database)

    assert _reference_tables() == [("tenants", 0), ("dids", 0), ("plans", 0)]


def test_a_tenant_is_created_by_a_do_block_in_a_sharded_schema(
    app: Flask, citus_database: TenantDatabase
) -> None:
    _upgrade_public_schema(citus_database)
    with public_session(database=app_services().database) as session:
        tenant_id = tenants.create(session, name="Acme").id
        setting = session.scalar(text("SHOW citus.enable_schema_based_sharding"))
    with public_session(database=app_services().database) as session:
        later_setting = session.scalar(
            text("SELECT current_setting('citus.enable_schema_based_sharding', true)")
        )
        script = session.scalar(text("SELECT script FROM public.tenant_ddl")) or ""
    with tenant_session(TenantRef(tenant_id), database=app_services().database) as session:
        schema_lines = _schema_without_tenant_id(session.connection(), TenantRef(tenant_id))

    assert setting == "on"
    assert later_setting != "on"
    assert script.startswith("DO $")
    assert "CREATE INDEX" in script
    assert len(schema_lines) > 80


def test_the_same_process_works_in_a_schema_from_a_do_block(
    app: Flask, citus_database: TenantDatabase
) -> None:
    _upgrade_public_schema(citus_database)
    acme = Factory(app).tenant("Acme")
    acme.profile()
    number = acme.number(label=acme.id)

    acme.say(acme.simulate(number["did_number"])["call_id"], "Hello?")

    assert [call["tenant_id"] for call in acme.get("/calls").json] == [acme.id]


def test_a_migration_is_a_do_block(next_revision: str) -> None:
    previous_revision = f"{int(next_revision) - 1:04}"
    plain_script = schema.compile_script(for_citus=False, after_revision=previous_revision)

    script = schema.compile_script(for_citus=True, after_revision=previous_revision)
    assert script == schema.wrap_in_do_block(plain_script)
    assert len(list(sql_splitter.split_statements(plain_script))) == 2
    assert schema.compile_script(for_citus=True, after_revision=next_revision) == ""


def test_a_single_postgres_gets_no_citus_statement(acme: Tenant) -> None:
    with public_session(database=app_services().database) as session:
        citus.create_reference_tables(session, "public.tenants")
        citus.enable_schema_sharding(session)
        setting = session.scalar(
            text("SELECT current_setting('citus.enable_schema_based_sharding', true)")
        )

    assert not setting
    assert not schema.compile_script(for_citus=False).startswith("DO ")
