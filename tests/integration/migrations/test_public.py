"""The public tree: from nothing to the models, once, however often and by how many it is run."""

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
from sqlalchemy.schema import BLANK_SCHEMA, CreateSchema

from tests.support.api import Api
from tests.support.databases import DEPLOYMENT
from tests.support.schema_dump import dump_schema
from vca.kit import db
from vca.kit.db import NAMING_CONVENTION, Database, timeouts
from vca.registry import schema
from vca.registry.models import metadata
from vca.settings import Settings
from vca.tenancy import schema as tenant_schema
from vca.tenancy.session import public_session

VERSIONS = "alembic_version"


def _run(database: Database, statement: str) -> list[Any]:
    with public_session(database=database) as session:
        result = session.execute(text(statement))
        return list(result.all()) if result.returns_rows else []


def _revision(database: Database) -> str:
    [(revision,)] = _run(database, f"SELECT version_num FROM public.{VERSIONS}")
    return str(revision)


@contextmanager
def _connection(database: Database) -> Iterator[Connection]:
    with public_session(database=database) as session:
        yield session.connection()


def _tables(lines: set[str]) -> set[str]:
    """What the models can describe: not functions, not Alembic's own table."""
    return {
        line for line in lines if not line.startswith("function") and f" {VERSIONS}" not in line
    }


def _unqualified() -> MetaData:
    """The models as Alembic reflects them: it leaves out the name of the default schema."""
    plain = MetaData(naming_convention=NAMING_CONVENTION)
    for table in metadata.sorted_tables:
        table.to_metadata(plain, schema=None, referred_schema_fn=lambda *_: BLANK_SCHEMA)
    return plain


def test_from_nothing_to_the_head_is_what_alembic_finds_in_the_models(
    empty_database: Database,
) -> None:
    assert schema.upgrade_public_schema(empty_database, DEPLOYMENT) == (None, schema.head())

    with _connection(empty_database) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "target_metadata": _unqualified(),
            },
        )
        assert compare_metadata(context, _unqualified()) == []


def test_the_models_alone_make_the_same_tables_checks_and_indexes(
    migrated_database: Database, empty_database: Database
) -> None:
    with _connection(empty_database) as connection:
        connection.execute(CreateSchema("public", if_not_exists=True))
        metadata.create_all(connection)
        by_models = _tables(dump_schema(connection, "public"))

    with _connection(migrated_database) as connection:
        by_migrations = _tables(dump_schema(connection, "public"))

    assert by_migrations ^ by_models == set()
    assert len(by_models) > 30


def test_upgrading_again_changes_nothing(migrated_database: Database) -> None:
    with _connection(migrated_database) as connection:
        before = [dump_schema(connection, name) for name in ("public", "jobs")]

    for _ in range(2):
        assert schema.upgrade_public_schema(migrated_database, DEPLOYMENT) == (
            schema.head(),
            schema.head(),
        )

    with _connection(migrated_database) as connection:
        assert [dump_schema(connection, name) for name in ("public", "jobs")] == before
    assert _run(migrated_database, "SELECT revision, script FROM public.tenant_ddl") == [
        (tenant_schema.head(), tenant_schema.compile_script())
    ]


def test_two_who_upgrade_at_once_take_turns(empty_database: Database) -> None:
    others = [Database(empty_database.dsn) for _ in range(2)]

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(
            threads.map(partial(schema.upgrade_public_schema, this_deployment=DEPLOYMENT), others)
        )

    for other in others:
        other.close()
    head = schema.head()
    assert sorted(outcomes, key=str) == sorted([(None, head), (head, head)], key=str)
    assert _revision(empty_database) == head


def test_the_second_waits_for_its_turn_however_long_the_first_takes(
    migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "LOCK_TIMEOUT_MS", 50)
    second = Database(migrated_database.dsn)
    first = psycopg2.connect(migrated_database.dsn)
    first.cursor().execute("SELECT pg_advisory_xact_lock(hashtext('vca.upgrade'))")
    blocked = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    waited = (
        "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"
        " AND clock_timestamp() - query_start > interval '200 ms'"
    )

    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(schema.upgrade_public_schema, second, DEPLOYMENT)
        while not outcome.done() and not (
            _run(migrated_database, blocked) and _run(migrated_database, waited)
        ):
            pass
        first.rollback()
        first.close()

        assert outcome.result(timeout=10) == (schema.head(), schema.head())
    second.close()


def test_a_failed_upgrade_leaves_nothing_behind(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> str:
        raise RuntimeError("no script")

    monkeypatch.setattr(tenant_schema, "compile_script", refuse)
    with pytest.raises(RuntimeError, match="no script"):
        schema.upgrade_public_schema(empty_database, DEPLOYMENT)

    with _connection(empty_database) as connection:
        assert dump_schema(connection, "public") == set()
        assert dump_schema(connection, "jobs") == set()

    monkeypatch.undo()
    assert schema.upgrade_public_schema(empty_database, DEPLOYMENT) == (None, schema.head())


def test_a_schema_that_is_ahead_of_the_code_is_left_alone_and_is_well(
    app: Flask, anonymous: Api, migrated_database: Database
) -> None:
    _run(migrated_database, f"UPDATE public.{VERSIONS} SET version_num = '9999'")
    _run(
        migrated_database,
        "INSERT INTO public.tenant_ddl (revision, script, installed_at)"
        " VALUES ('9999', 'SELECT 1', now() + interval '1 second')",
    )
    before = _run(migrated_database, "SELECT * FROM public.tenant_ddl ORDER BY revision")
    db.set_current_database(migrated_database)

    assert schema.upgrade_public_schema(migrated_database, DEPLOYMENT) == ("9999", "9999")
    assert _run(migrated_database, "SELECT * FROM public.tenant_ddl ORDER BY revision") == before
    answer = anonymous.get("/healthz")

    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "database": "ok", "schema": "9999"}


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_schema_that_is_behind_the_code_is_not_well(
    app: Flask, anonymous: Api, migrated_database: Database, revision: str
) -> None:
    _run(migrated_database, f"UPDATE public.{VERSIONS} SET version_num = '{revision}'")
    db.set_current_database(migrated_database)

    answer = anonymous.get("/healthz")

    assert answer.status_code == 503
    assert (answer.json["code"], answer.json["schema"]) == ("schema-behind", revision)
    assert "flask db upgrade" in answer.json["detail"]
    assert answer.headers["Retry-After"]


def test_a_database_with_nothing_in_it_is_not_well(
    app: Flask, anonymous: Api, empty_database: Database
) -> None:
    db.set_current_database(empty_database)

    answer = anonymous.get("/healthz")

    assert answer.status_code == 503
    assert (answer.json["code"], answer.json["schema"]) == ("schema-behind", "missing")


def test_the_command_tells_what_it_did(
    app: Flask, settings: Settings, empty_database: Database
) -> None:
    app.extensions["settings"] = replace(settings, migration_database_url=empty_database.dsn)
    runner = app.test_cli_runner()

    first = runner.invoke(args=["db", "upgrade"])
    second = runner.invoke(args=["db", "upgrade"])

    assert first.output == f"public: empty → {schema.head()}\n"
    assert second.output == f"public: {schema.head()}\n"
    assert (first.exit_code, second.exit_code) == (0, 0)
