"""Citus: a tenant's schema is one that it can shard by, made in a form that it accepts.

There is none here. What it forbids is held against the catalogue and the script, and what it is
told against a stand-in that takes notes.
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
from vca.kit import db
from vca.kit.db import Database
from vca.registry import schema as registry
from vca.registry.deployment import Deployment
from vca.registry.tenants import service as tenants
from vca.tenancy import citus, roles, schema, sql_splitter
from vca.tenancy.roles import Roles
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import owner_session, public_session, tenant_session

# --- What it forbids ---------------------------------------------------------------------------


def test_a_tenants_schema_breaks_no_rule(acme: Tenant, owner_database: Database) -> None:
    with owner_session(acme.ref, database=owner_database) as session:
        assert broken_rules(session.connection(), acme.ref.schema) == {}
        assert dump_schema(session.connection(), acme.ref.schema)


# What breaks each rule, and nothing else.
BREACHES = {
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
MORE_BREACHES = [
    ("nothing counts", "ALTER TABLE good ADD COLUMN x serial"),
    ("nothing counts", "CREATE SEQUENCE bad"),
    ("constraints are named by the convention", "ALTER TABLE good ADD CONSTRAINT x UNIQUE (id)"),
    ("there are tables only", "CREATE FUNCTION bad() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("there are tables only", "CREATE MATERIALIZED VIEW bad AS SELECT id FROM good"),
]
_GOOD = "CREATE TABLE good (id uuid, tenant_id uuid, CONSTRAINT good_pkey PRIMARY KEY (id))"


@pytest.mark.parametrize(("rule", "breach"), [*BREACHES.items(), *MORE_BREACHES])
def test_a_schema_that_breaks_a_rule_is_found_out(
    owner_database: Database, rule: str, breach: str
) -> None:
    bad = TenantRef(uuid4())
    with public_session(database=owner_database) as session:
        connection = session.connection()
        _make(connection, bad)
        connection.exec_driver_sql(_GOOD)
        assert broken_rules(connection, bad.schema) == {}

        connection.exec_driver_sql(breach)
        found = broken_rules(connection, bad.schema)
        session.rollback()

    assert list(found) == [rule]


def test_every_rule_was_seen_to_be_broken() -> None:
    assert set(BREACHES) == set(RULES)


def test_every_constraint_of_the_script_is_named_and_none_comes_with_an_added_column() -> None:
    script = list(sql_splitter.split_statements(schema.compile_script()))

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
def test_a_constraint_without_a_name_of_ours_is_found_out(statement: str) -> None:
    assert list(unnamed_constraints([statement])) == [statement]


# --- In a form that it accepts -----------------------------------------------------------------


def _make(connection: Connection, tenant: TenantRef) -> None:
    """A schema of the name, chosen for this transaction."""
    connection.exec_driver_sql(f'CREATE SCHEMA "{tenant.schema}"')
    connection.exec_driver_sql(f'SET LOCAL search_path TO "{tenant.schema}"')


def _anonymous(connection: Connection, tenant: TenantRef) -> set[str]:
    lines = dump_schema(connection, tenant.schema)
    return {line.replace(str(tenant.id), "<tenant>") for line in lines}


def test_the_block_makes_what_the_plain_script_makes(
    acme: Tenant, owner_database: Database
) -> None:
    other = TenantRef(uuid4())
    script = schema.compile_script()
    with public_session(database=owner_database) as session:
        connection = session.connection()
        grantees = session.scalar(text("SELECT public.tenant_grantees(:id)"), {"id": other.id})
        block = schema.render_for_tenant(
            schema.wrap_in_do_block(script), other, grantees=str(grantees)
        )
        _make(connection, other)
        connection.exec_driver_sql(block, execution_options={"no_parameters": True})
        by_block = _anonymous(connection, other)
    with owner_session(acme.ref, database=owner_database) as session:
        by_script = _anonymous(session.connection(), acme.ref)

    assert by_block ^ by_script == set()
    assert len(by_script) > 80
    with owner_session(other, database=owner_database) as session:
        assert session.scalar(text("SELECT id FROM tenant_self")) == other.id
    assert [line.partition(" ")[0] for line in sql_splitter.split_statements(block)] == ["DO"]


# --- What it is told ---------------------------------------------------------------------------

# The least of it: a list of tables, and a function that puts them there.
STAND_IN = """
CREATE TABLE citus_tables (
    n serial, table_name regclass, citus_table_type text, had_tenants bigint
);
CREATE FUNCTION create_reference_table(given text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO citus_tables (table_name, citus_table_type, had_tenants)
    SELECT given::regclass, 'reference', count(*) FROM public.tenants;
END $$;
"""
_SHARED = text("SELECT table_name::text, had_tenants FROM public.citus_tables ORDER BY n")


@pytest.fixture
def cluster(app: Flask, empty_database: Database) -> Iterator[Database]:
    """A database that takes notes as Citus, for a process that believes it."""
    with public_session(database=empty_database) as session:
        session.execute(text(STAND_IN))
    db.set_current_database(empty_database)
    citus.set_enabled(True)
    before, login = roles.current_roles(), make_url(empty_database.dsn).username or ""
    roles.set_current_roles(Roles(None, login, login))
    yield empty_database
    roles.set_current_roles(before)
    citus.set_enabled(False)


def _upgrade(cluster: Database) -> None:
    registry.upgrade_public_schema(cluster, Deployment("development", "", roles.current_roles()))


def _shared() -> list[Any]:
    with public_session() as session:
        return [tuple(row) for row in session.execute(_SHARED)]


def test_tenants_and_numbers_are_shared_before_there_are_tenants_and_once(
    cluster: Database,
) -> None:
    _upgrade(cluster)
    with public_session() as session:
        tenants.create(session, name="Acme")

    _upgrade(cluster)

    assert _shared() == [("tenants", 0), ("dids", 0), ("plans", 0)]


def test_a_tenant_is_made_from_a_block_in_a_schema_that_is_placed(
    app: Flask, cluster: Database
) -> None:
    _upgrade(cluster)
    with public_session() as session:
        made = tenants.create(session, name="Acme").id
        placed = session.scalar(text("SHOW citus.enable_schema_based_sharding"))
    with public_session() as session:
        after = session.scalar(
            text("SELECT current_setting('citus.enable_schema_based_sharding', true)")
        )
        script = session.scalar(text("SELECT script FROM public.tenant_ddl")) or ""
    with tenant_session(TenantRef(made)) as session:
        found = _anonymous(session.connection(), TenantRef(made))

    assert placed == "on"
    assert after != "on"
    assert script.startswith("DO $")
    assert "CREATE INDEX" in script
    assert len(found) > 80


def test_the_same_process_works_in_a_schema_made_so(app: Flask, cluster: Database) -> None:
    _upgrade(cluster)
    acme = Factory(app).tenant("Acme")
    acme.profile()
    number = acme.number(label=acme.id)

    acme.say(acme.simulate(number["did_number"])["call_id"], "Hello?")

    assert [call["tenant_id"] for call in acme.get("/calls").json] == [acme.id]


def test_a_migration_is_a_block_too(next_revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = f"{int(next_revision) - 1:04}"
    plain = schema.compile_script(after_revision=before)
    monkeypatch.setattr(citus, "_enabled", True)

    assert schema.compile_script(after_revision=before) == schema.wrap_in_do_block(plain)
    assert len(list(sql_splitter.split_statements(plain))) == 2
    assert schema.compile_script(after_revision=next_revision) == ""


def test_a_single_postgres_is_told_none_of_it(acme: Tenant) -> None:
    with public_session() as session:
        citus.create_reference_tables(session, "public.tenants")
        citus.enable_schema_sharding(session)
        told = session.scalar(
            text("SELECT current_setting('citus.enable_schema_based_sharding', true)")
        )

    assert not told
    assert not schema.compile_script().startswith("DO ")
