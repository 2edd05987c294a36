"""The functions in the database are those of `registry/sql`: bodies, grants, and who replaces them.

Functions of procrastinate in the schema `jobs` come from its package.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

import vca
from tests.support.databases import DEPLOYMENT, WEB, WORKER
from vca.kit.db import Database
from vca.registry import privileges, schema, sql_functions
from vca.registry.sql_functions import DroppedFunction
from vca.tenancy.roles import Roles
from vca.tenancy.session import public_session

_DEFINITIONS_SQL = """
SELECT p.oid, pg_get_functiondef(p.oid) AS definition FROM pg_proc p
WHERE pronamespace IN ('public'::regnamespace, 'jobs'::regnamespace)
  AND NOT (pronamespace = 'jobs'::regnamespace AND proname LIKE 'procrastinate%')
"""
_GRANTEES_SQL = """
SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.oid = :oid AND a.grantee <> p.proowner AND a.privilege_type = 'EXECUTE'
"""
_WRITTEN_SQL = "SELECT oid FROM pg_proc WHERE xmin = pg_current_xact_id()::xid"
GRANTEES = {"tenant": {"PUBLIC"}, "platform": {WEB, WORKER}, "worker": {WORKER}, "none": set()}


@pytest.fixture
def owner_connection(migrated_database: Database) -> Iterator[Connection]:
    """Return a connection with the owner's login whose transaction is rolled back."""
    with public_session(database=migrated_database) as session:
        yield session.connection()
        session.rollback()


def _definitions(connection: Connection) -> dict[int, str]:
    return {row.oid: row.definition for row in connection.execute(text(_DEFINITIONS_SQL))}


def _execute(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _oids_of_files(connection: Connection) -> dict[str, int]:
    """Install each file again, with its body checked, and return the function that it replaces."""
    oids: dict[str, int] = {}
    for function in sql_functions.load_functions():
        _execute(connection, function.source)
        [oid] = set(connection.scalars(text(_WRITTEN_SQL))) - set(oids.values())
        oids[function.signature] = oid
    return oids


def _grantees(connection: Connection, oid: int) -> set[str]:
    return set(connection.scalars(text(_GRANTEES_SQL), {"oid": oid}))


def test_every_function_comes_from_exactly_one_file_and_has_its_body(
    owner_connection: Connection,
) -> None:
    installed = _definitions(owner_connection)

    oids = _oids_of_files(owner_connection)

    assert _definitions(owner_connection) == installed
    assert sorted(oids.values()) == sorted(installed)


def test_every_function_has_the_grants_of_its_header_only(owner_connection: Connection) -> None:
    oids = _oids_of_files(owner_connection)

    for function in sql_functions.load_functions():
        oid = oids[function.signature]
        assert _grantees(owner_connection, oid) == GRANTEES[function.grant], function.signature
    assert {function.grant for function in sql_functions.load_functions()} == set(GRANTEES)


def test_strangers_can_execute_none_of_the_functions_without_roles_of_tenants(
    owner_connection: Connection,
) -> None:
    oids = _oids_of_files(owner_connection)

    sql_functions.install(owner_connection, Roles(None, WEB, WORKER))

    grantees = {**GRANTEES, "tenant": {WEB, WORKER}}
    for function in sql_functions.load_functions():
        assert _grantees(owner_connection, oids[function.signature]) == grantees[function.grant]


def test_grants_of_an_earlier_header_are_revoked(owner_connection: Connection) -> None:
    oid = _oids_of_files(owner_connection)["jobs.oldest_due_s()"]
    _execute(owner_connection, "GRANT EXECUTE ON FUNCTION jobs.oldest_due_s() TO PUBLIC")

    for statement in sql_functions.grant_statements(DEPLOYMENT.roles):
        _execute(owner_connection, statement)

    assert _grantees(owner_connection, oid) == {WEB, WORKER}


def test_printed_grants_include_those_of_the_functions() -> None:
    statements = privileges.grant_statements("vca", DEPLOYMENT.roles)

    assert "GRANT EXECUTE ON FUNCTION public.own_plan(" in "\n".join(statements)
    assert set(sql_functions.grant_statements(DEPLOYMENT.roles)) <= set(statements)


def _change_body(database: Database) -> None:
    with public_session(database=database) as session:
        body = "CREATE OR REPLACE FUNCTION jobs.oldest_due_s() RETURNS double precision"
        session.execute(text(f"{body} LANGUAGE sql AS $$ SELECT 4711.0::float8 $$"))


def _has_changed_body(database: Database) -> bool:
    with public_session(database=database) as session:
        definition = "pg_get_functiondef('jobs.oldest_due_s()'::regprocedure)"
        return "4711" in str(session.scalar(text(f"SELECT {definition}")))


def test_an_upgrade_installs_changed_bodies(migrated_database: Database) -> None:
    _change_body(migrated_database)

    schema.upgrade_public_schema(migrated_database, DEPLOYMENT)

    assert not _has_changed_body(migrated_database)


@pytest.mark.parametrize(
    "newer_database",
    [
        "UPDATE public.alembic_version SET version_num = '9999'",
        "UPDATE public.deployment SET functions_release = '0.1.1'",
        "UPDATE public.deployment SET functions_release = '0.10.0'",
        "UPDATE public.deployment SET functions_release = '1.0.0'",
    ],
)
def test_an_older_release_changes_neither_newer_bodies_nor_their_grants(
    migrated_database: Database, newer_database: str
) -> None:
    _change_body(migrated_database)
    with public_session(database=migrated_database) as session:
        session.execute(text(newer_database))
        session.execute(text("GRANT EXECUTE ON FUNCTION jobs.oldest_due_s() TO PUBLIC"))

    schema.upgrade_public_schema(migrated_database, DEPLOYMENT)

    assert _has_changed_body(migrated_database)
    with public_session(database=migrated_database) as session:
        query = text("SELECT has_function_privilege('public', 'jobs.oldest_due_s()', 'EXECUTE')")
        assert session.scalar(query) is True


def test_a_newer_release_replaces_the_bodies_and_is_recorded(migrated_database: Database) -> None:
    _change_body(migrated_database)
    with public_session(database=migrated_database) as session:
        session.execute(text("UPDATE public.deployment SET functions_release = '0.0.9'"))

    schema.upgrade_public_schema(migrated_database, DEPLOYMENT)

    assert not _has_changed_body(migrated_database)
    with public_session(database=migrated_database) as session:
        release = session.scalar(text("SELECT functions_release FROM public.deployment"))
    assert release == vca.__version__


def test_a_replaced_function_is_dropped_by_the_release_that_the_list_names(
    owner_connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("now_dropped", "dropped_later"):
        _execute(
            owner_connection,
            f"CREATE FUNCTION public.{name}(p_id uuid) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )
    replaced_functions = [
        DroppedFunction("public.now_dropped(p_id uuid)", "0.1.0"),
        DroppedFunction("public.dropped_later(p_id uuid)", "99.0.0"),
        DroppedFunction("public.never_there(p_id uuid)", "0.1.0"),
    ]
    monkeypatch.setattr(sql_functions, "load_dropped", lambda: replaced_functions)

    sql_functions.install(owner_connection, DEPLOYMENT.roles)

    names = owner_connection.scalars(text("SELECT proname FROM pg_proc")).all()
    assert "dropped_later" in names
    assert "now_dropped" not in names
