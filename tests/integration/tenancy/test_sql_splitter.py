"""Tests of splitting a script into statements, and of the DO block that executes them."""

from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.tenancy import schema, sql_splitter
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import owner_session, tenant_session

# Each is one statement, although it contains a semicolon or quote that looks like its end.
SINGLE_STATEMENTS = [
    "SELECT 'a;b'",
    "SELECT 'it''s; fine'",
    r"SELECT E'\';' || e'\\' || 'x;'",
    r"SELECT 'no escape: \'",
    r"SELECT name'\'",
    'SELECT 1 AS "a;""b"',
    "SELECT $$a;'b$$",
    "SELECT $tag$ $$ ; $other$ ; $tag$",
    "SELECT $été$;$été$",
    "SELECT a$b$c FROM t",
    "PREPARE p AS SELECT $1",
    "SELECT 1 -- not here; nor 'here",
    "SELECT 1 /* nor; /* here; */ ' */ + 1",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)",
    "SELECT 'a' ';' \"x\"",
    "SELECT 1 - -1 / 2 * (3)",
]


@pytest.mark.parametrize("statement", SINGLE_STATEMENTS)
def test_a_semicolon_inside_a_statement_does_not_split_it(statement: str) -> None:
    other = "SELECT 2"

    assert list(sql_splitter.split_statements(statement)) == [statement]
    assert list(sql_splitter.split_statements(f"{other};{statement}\n;{other};")) == [
        other,
        statement,
        other,
    ]


@pytest.mark.parametrize("script", ["", ";", " ;\n; ", "-- a;b", "/* a; */ ;; -- b"])
def test_an_empty_script_contains_no_statement(script: str) -> None:
    assert list(sql_splitter.split_statements(script)) == []
    assert schema.wrap_in_do_block(script) == ""


@pytest.mark.parametrize("script", ["'a;", '"a;', "$$a;", "$x$a;$$", "/* a; /* */", "(a;", r"E'\'"])
def test_an_unclosed_quote_comment_or_bracket_is_rejected(script: str) -> None:
    with pytest.raises(ValueError, match="not closed"):
        list(sql_splitter.split_statements(f"SELECT 1; {script}"))


def test_the_compiled_script_splits_into_single_statements() -> None:
    statements = list(sql_splitter.split_statements(schema.compile_script(for_citus=False)))

    kinds = {statement.split()[0] for statement in statements}
    assert kinds <= {"CREATE", "INSERT", "ALTER", "UPDATE", "GRANT", "REVOKE"}
    assert sum(statement.startswith("CREATE TABLE") for statement in statements) >= 8
    assert "; ".join(statements).count("CREATE ") == sum(
        statement.startswith("CREATE ") for statement in statements
    )


def test_a_do_block_executes_its_statements_in_order(
    acme: Tenant, owner_database: TenantDatabase
) -> None:
    table = f"t{uuid4().hex}"
    script = rf"""
        CREATE TABLE {table} (id int CONSTRAINT {table}_pkey PRIMARY KEY, x text);
        INSERT INTO {table} VALUES (1, 'a;''b'), (2, $q0$ $$ % $q0$), (3, E'\'$q1');
        CREATE INDEX {table}_x_idx ON {table} (x); -- the last; almost
        UPDATE {table} SET x = x || '$q2' WHERE id = 3;
    """
    with owner_session(acme.ref, database=owner_database) as session:
        connection = session.connection()
        options = {"no_parameters": True}
        connection.exec_driver_sql(schema.wrap_in_do_block(script), execution_options=options)
        values = connection.exec_driver_sql(f"SELECT x FROM {table} ORDER BY id").scalars().all()
        connection.exec_driver_sql(f"DROP TABLE {table}")

    assert values == ["a;'b", " $$ % ", "'$q1$q2"]


def test_a_do_block_fails_when_a_statement_fails(acme: Tenant) -> None:
    block = schema.wrap_in_do_block("SELECT 1; SELECT * FROM no_such_table")

    with (
        pytest.raises(DBAPIError, match="no_such_table"),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        session.connection().exec_driver_sql(block)
