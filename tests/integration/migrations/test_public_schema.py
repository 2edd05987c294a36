"""Tests of the public schema's migrations: result, repetition, concurrency and health check."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from flask import Flask
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.schema import BLANK_SCHEMA, CreateSchema

from tests.support.api import Api
from tests.support.databases import DEPLOYMENT
from tests.support.factories import fresh_number
from tests.support.revision_tree import RevisionTree
from tests.support.schema_dump import dump_schema
from tests.support.services import open_database, use_database, use_services
from vca.kit.db import NAMING_CONVENTION, timeouts
from vca.registry import schema
from vca.registry.models import metadata
from vca.settings import Settings
from vca.tenancy import schema as tenant_schema
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import public_session

VERSION_TABLE = "alembic_version"
NOTES_SQL = """
    CREATE TABLE public.notes (id text CONSTRAINT notes_pkey PRIMARY KEY);
    INSERT INTO public.notes SELECT did_number FROM public.did_misses;
"""


def _execute(database: TenantDatabase, statement: str) -> list[Any]:
    with public_session(database=database) as session:
        result = session.connection().execute(text(statement))
        return list(result.all()) if result.returns_rows else []


def _revision(database: TenantDatabase) -> str:
    [(revision,)] = _execute(database, f"SELECT version_num FROM public.{VERSION_TABLE}")
    return str(revision)


@contextmanager
def _open_connection(database: TenantDatabase) -> Iterator[Connection]:
    with public_session(database=database) as session:
        yield session.connection()


def _model_lines(lines: set[str]) -> set[str]:
    """Return the lines that models can describe: no functions, and not Alembic's table."""
    return {
        line
        for line in lines
        if not line.startswith("function") and f" {VERSION_TABLE}" not in line
    }


def _models_without_schema() -> MetaData:
    """Return the models without a schema name, because Alembic reflects public tables so."""
    models = MetaData(naming_convention=NAMING_CONVENTION)
    for table in metadata.sorted_tables:
        # The parameters accept these values, which their types do not include.
        table.to_metadata(models, schema=None, referred_schema_fn=lambda *_: BLANK_SCHEMA)  # type: ignore[arg-type]
    return models


def test_migrations_from_empty_to_head_create_what_the_models_define(
    empty_database: TenantDatabase,
) -> None:
    assert schema.upgrade_public_schema(empty_database, DEPLOYMENT) == (None, schema.head())

    with _open_connection(empty_database) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "target_metadata": _models_without_schema(),
            },
        )
        assert compare_metadata(context, _models_without_schema()) == []


def test_models_and_migrations_create_the_same_tables_and_indexes(
    migrated_database: TenantDatabase, empty_database: TenantDatabase
) -> None:
    with _open_connection(empty_database) as connection:
        connection.execute(CreateSchema("public", if_not_exists=True))
        metadata.create_all(connection)
        model_schema = _model_lines(dump_schema(connection, "public"))

    with _open_connection(migrated_database) as connection:
        migrated_schema = _model_lines(dump_schema(connection, "public"))

    assert migrated_schema ^ model_schema == set()
    assert len(model_schema) > 30


def test_a_second_upgrade_changes_nothing(migrated_database: TenantDatabase) -> None:
    with _open_connection(migrated_database) as connection:
        before = [dump_schema(connection, name) for name in ("public", "jobs")]

    for _ in range(2):
        assert schema.upgrade_public_schema(migrated_database, DEPLOYMENT) == (
            schema.head(),
            schema.head(),
        )

    with _open_connection(migrated_database) as connection:
        assert [dump_schema(connection, name) for name in ("public", "jobs")] == before
    assert _execute(migrated_database, "SELECT revision, script FROM public.tenant_ddl") == [
        (tenant_schema.head(), tenant_schema.compile_script(for_citus=False))
    ]


def test_two_concurrent_upgrades_run_one_after_the_other(empty_database: TenantDatabase) -> None:
    databases = [open_database(empty_database.dsn) for _ in range(2)]

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(
            threads.map(
                partial(schema.upgrade_public_schema, this_deployment=DEPLOYMENT), databases
            )
        )

    for database in databases:
        database.close()
    head = schema.head()
    assert sorted(outcomes, key=str) == sorted([(None, head), (head, head)], key=str)
    assert _revision(empty_database) == head


def test_a_second_upgrade_waits_beyond_the_lock_timeout(
    migrated_database: TenantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "LOCK_TIMEOUT_MS", 50)
    second_database = open_database(migrated_database.dsn)
    lock_holder = psycopg2.connect(migrated_database.dsn)
    lock_holder.cursor().execute("SELECT pg_advisory_xact_lock(hashtext('vca.upgrade'))")
    blocked_sql = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    long_wait_sql = (
        "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"
        " AND clock_timestamp() - query_start > interval '200 ms'"
    )

    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(schema.upgrade_public_schema, second_database, DEPLOYMENT)
        while not outcome.done() and not (
            _execute(migrated_database, blocked_sql) and _execute(migrated_database, long_wait_sql)
        ):
            pass
        lock_holder.rollback()
        lock_holder.close()

        assert outcome.result(timeout=10) == (schema.head(), schema.head())
    second_database.close()


def test_a_failed_upgrade_is_rolled_back(
    empty_database: TenantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_error(**_: object) -> str:
        raise RuntimeError("no script")

    monkeypatch.setattr(tenant_schema, "compile_script", raise_error)
    with pytest.raises(RuntimeError, match="no script"):
        schema.upgrade_public_schema(empty_database, DEPLOYMENT)

    with _open_connection(empty_database) as connection:
        assert dump_schema(connection, "public") == set()
        assert dump_schema(connection, "jobs") == set()

    monkeypatch.undo()
    assert schema.upgrade_public_schema(empty_database, DEPLOYMENT) == (None, schema.head())


def test_a_newer_schema_is_left_unchanged_and_is_healthy(
    app: Flask, anonymous: Api, migrated_database: TenantDatabase
) -> None:
    _execute(migrated_database, f"UPDATE public.{VERSION_TABLE} SET version_num = '9999'")
    _execute(
        migrated_database,
        "INSERT INTO public.tenant_ddl (revision, script, installed_at)"
        " VALUES ('9999', 'SELECT 1', now() + interval '1 second')",
    )
    before = _execute(migrated_database, "SELECT * FROM public.tenant_ddl ORDER BY revision")
    use_database(migrated_database)

    assert schema.upgrade_public_schema(migrated_database, DEPLOYMENT) == ("9999", "9999")
    assert (
        _execute(migrated_database, "SELECT * FROM public.tenant_ddl ORDER BY revision") == before
    )
    response = anonymous.get("/healthz")

    assert response.status_code == 200
    assert response.json == {
        "status": "ok",
        "database": "ok",
        "schema": "9999",
        "models": "unchecked",
    }


def test_a_schema_older_than_the_code_is_unhealthy(
    app: Flask,
    anonymous: Api,
    migrated_database: TenantDatabase,
    public_revision_tree: RevisionTree,
) -> None:
    revision = _revision(migrated_database)
    public_revision_tree.add_sql("notes", NOTES_SQL)
    use_database(migrated_database)

    response = anonymous.get("/healthz")

    assert response.status_code == 503
    assert (response.json["code"], response.json["schema"]) == ("schema-behind", revision)
    assert "flask db upgrade" in response.json["detail"]
    assert response.headers["Retry-After"]


def test_an_upgrade_runs_the_migrations_after_the_recorded_revision(
    anonymous: Api, migrated_database: TenantDatabase, public_revision_tree: RevisionTree
) -> None:
    before = _revision(migrated_database)
    _execute(migrated_database, f"INSERT INTO public.did_misses VALUES ('{fresh_number()}', 1)")
    public_revision_tree.add_sql("notes", NOTES_SQL)
    after = public_revision_tree.add_sql(
        "text", "ALTER TABLE public.notes ADD COLUMN text text NOT NULL DEFAULT 'moved'"
    )

    assert schema.upgrade_public_schema(migrated_database, DEPLOYMENT) == (before, after)

    assert _revision(migrated_database) == after == schema.head()
    assert _execute(migrated_database, "SELECT text FROM public.notes") == [("moved",)]
    use_database(migrated_database)
    assert anonymous.get("/healthz").json["schema"] == after


def test_a_failed_migration_leaves_the_revision_before_it(
    migrated_database: TenantDatabase, public_revision_tree: RevisionTree
) -> None:
    before = _revision(migrated_database)
    public_revision_tree.add_sql("notes", NOTES_SQL)
    public_revision_tree.add_sql("broken", "ALTER TABLE public.nowhere ADD COLUMN text text")

    with pytest.raises(ProgrammingError, match="nowhere"):
        schema.upgrade_public_schema(migrated_database, DEPLOYMENT)

    assert _revision(migrated_database) == before
    assert _execute(migrated_database, "SELECT to_regclass('public.notes')") == [(None,)]


def test_an_empty_database_is_unhealthy(
    app: Flask, anonymous: Api, empty_database: TenantDatabase
) -> None:
    use_database(empty_database)

    response = anonymous.get("/healthz")

    assert response.status_code == 503
    assert (response.json["code"], response.json["schema"]) == ("schema-behind", "missing")


def test_the_command_prints_the_revisions_before_and_after(
    app: Flask, settings: Settings, empty_database: TenantDatabase
) -> None:
    use_services(settings=replace(settings, migration_database_url=empty_database.dsn))
    runner = app.test_cli_runner()

    first = runner.invoke(args=["db", "upgrade"])
    second = runner.invoke(args=["db", "upgrade"])

    assert first.output == f"public: empty → {schema.head()}\n"
    assert second.output == f"public: {schema.head()}\n"
    assert (first.exit_code, second.exit_code) == (0, 0)
