"""The baselines create the same schemas as the migrations that they replace."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from tests.support import databases
from tests.support.ast_index import ROOT
from vca.devtools.embedded_postgres import binaries
from vca.kit.db import Database
from vca.registry import schema
from vca.tenancy import schema as tenant_schema
from vca.tenancy.session import public_session

TENANT_ID = "00000000-0000-4000-8000-000000000abc"
# What differs in every dump, and the revision.
_IGNORED_LINE = re.compile(r"--|$|\\(un)?restrict ")
_TABLES_SQL = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""
# Rows that name the revision or the time.
_IGNORED_COLUMNS = {"created_at", "updated_at", "unsigned_states_until", "schema_revision"}
_IGNORED_TABLES = {"public.alembic_version", "public.tenant_ddl"}


@contextmanager
def _use_baselines() -> Iterator[None]:
    public_folders, tenant_folders = schema.migration_folders(), tenant_schema.migration_folders()
    schema.set_migration_folders(ROOT / "migrations" / "squashed")
    tenant_schema.set_migration_folders(ROOT / "tenant_migrations" / "squashed")
    yield
    schema.set_migration_folders(*public_folders)
    tenant_schema.set_migration_folders(*tenant_folders)


def _upgrade_and_create_tenant(database: Database) -> None:
    schema.upgrade_public_schema(database, databases.DEPLOYMENT)
    with public_session(database=database) as session:
        create = "SELECT public.create_tenant(:id, 'Acme', 'starter', NULL)"
        session.execute(text(create), {"id": TENANT_ID})


def _dump(database: Database) -> list[tuple[str, ...]]:
    """Return the statements of pg_dump, sorted, each with its lines sorted."""
    arguments = ["--schema-only", "--dbname", database.dsn]
    program = binaries.wheel_programs() / "pg_dump"
    output = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    return sorted(
        tuple(
            sorted(
                line.rstrip(",") for line in statement.splitlines() if not _IGNORED_LINE.match(line)
            )
        )
        for statement in output.stdout.split(";\n")
    )


def _rows(database: Database) -> dict[str, list[dict[str, object]]]:
    with public_session(database=database) as session:
        return {
            table: sorted(
                (
                    {name: row[name] for name in sorted(row.keys() - _IGNORED_COLUMNS)}
                    for row in map(dict, session.execute(text(f"SELECT * FROM {table}")).mappings())
                ),
                key=str,
            )
            for table in session.scalars(text(_TABLES_SQL))
            if table not in _IGNORED_TABLES
        }


@pytest.fixture
def baseline_database(empty_database: Database) -> Database:
    """Return a database that the baselines have created, with one tenant."""
    with _use_baselines():
        _upgrade_and_create_tenant(empty_database)
    return empty_database


def test_baselines_and_old_migrations_create_the_same_database(
    baseline_database: Database, database_server: databases.DatabaseServer
) -> None:
    name = "vca_test_0_old_migrations"
    old_database = Database(database_server.create_empty(name))
    with public_session(database=old_database) as session:
        session.execute(text("DROP SCHEMA public; CREATE SCHEMA public"))  # as in empty_database
    _upgrade_and_create_tenant(old_database)

    old_dump, new_dump = _dump(old_database), _dump(baseline_database)
    old_rows, new_rows = _rows(old_database), _rows(baseline_database)
    old_database.close()
    database_server.drop_database(name)

    assert new_dump == old_dump
    assert new_rows == old_rows
    assert sum(line.startswith("CREATE TABLE") for lines in new_dump for line in lines) > 35
    assert len(new_rows["public.plans"]) == 3
    assert len(new_rows[f"t_{TENANT_ID.replace('-', '')}.settings"]) == 1
