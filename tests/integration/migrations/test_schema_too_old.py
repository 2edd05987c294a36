"""A database or an archive from before 0.1.0 is refused with one sentence, and left unchanged.

The baselines of both trees replaced its revisions: 0001 to 0017 of the public schema, and 0001 to
0025 of the tenants' schemas. No other revision is refused.
"""

from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from tests.support import migrate_command
from tests.support.api import Api
from tests.support.databases import DEPLOYMENT
from tests.support.factories import Factory
from tests.support.schema_dump import dump_schema
from tests.support.services import app_services, open_database, use_database
from tests.support.tenants_cli import TenantsCli
from vca.kit import json
from vca.registry import schema as registry_schema
from vca.settings import Settings
from vca.tenancy import schema
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import SchemaTooOld
from vca.tenancy.session import public_session

SENTENCE = "This database was made before 0.1.0; start with an empty database."
OLD_PUBLIC_REVISIONS = [f"{number:04}" for number in range(1, 18)]
OLD_TENANT_REVISIONS = [f"{number:04}" for number in range(1, 26)]


def _record_public_revision(database: TenantDatabase, revision: str) -> None:
    with public_session(database=database) as session:
        update = text("UPDATE public.alembic_version SET version_num = :revision")
        session.execute(update, {"revision": revision})


def _dump(database: TenantDatabase) -> set[str]:
    with public_session(database=database) as session:
        return dump_schema(session.connection(), "public")


@pytest.mark.parametrize("revision", [*OLD_TENANT_REVISIONS, "0099"])
def test_old_revisions_are_neither_known_nor_supported_nor_ahead(revision: str) -> None:
    assert schema.precedes_baseline(revision)
    assert not schema.is_known_revision(revision)
    assert not schema.is_supported_revision(revision)
    assert schema.is_behind(revision)
    assert registry_schema.is_behind(revision)


@pytest.mark.parametrize("revision", ["0100", "0101", "9999", "purging", "01", "00171", "abcd"])
def test_other_revisions_are_not_too_old(revision: str) -> None:
    assert not schema.precedes_baseline(revision)
    assert schema.is_supported_revision(revision)


@pytest.mark.parametrize("revision", OLD_PUBLIC_REVISIONS)
def test_an_old_public_schema_is_not_upgraded(
    migrated_database: TenantDatabase, revision: str
) -> None:
    _record_public_revision(migrated_database, revision)
    before = _dump(migrated_database)

    with pytest.raises(SchemaTooOld, match=SENTENCE):
        registry_schema.upgrade_public_schema(migrated_database, DEPLOYMENT)

    with public_session(database=migrated_database) as session:
        assert registry_schema.current_revision(session) == revision
    assert _dump(migrated_database) == before


def test_commands_print_the_sentence_and_fail(migration_world: Factory) -> None:
    _record_public_revision_as_owner(migration_world, "0017")

    upgrade = migrate_command.run_flask(migration_world, "db", "upgrade")
    check = migrate_command.run_flask(migration_world, "db", "check", "--json")

    assert (upgrade.exit_code, upgrade.stderr) == (1, f"Error: {SENTENCE}\n")
    [finding] = [row for row in json.loads(check.stdout) if row["what"] == "public schema"]
    assert (check.exit_code, finding["verdict"], finding["detail"]) == (1, "failed", SENTENCE)


def _record_public_revision_as_owner(world: Factory, revision: str) -> None:
    settings: Settings = app_services().settings
    database = open_database(settings.owner_dsn, pool_size=1)
    _record_public_revision(database, revision)
    database.close()


@pytest.mark.parametrize("revision", [OLD_PUBLIC_REVISIONS[0], OLD_PUBLIC_REVISIONS[-1]])
def test_an_old_public_schema_is_unhealthy(
    app: Flask, anonymous: Api, migrated_database: TenantDatabase, revision: str
) -> None:
    _record_public_revision(migrated_database, revision)
    use_database(migrated_database)

    response = anonymous.get("/healthz")

    assert response.status_code == 503
    assert (response.json["code"], response.json["schema"]) == ("schema-too-old", revision)
    assert response.json["detail"] == SENTENCE


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--dry-run"]])
def test_tenants_at_an_old_revision_are_not_migrated(
    migration_world: Factory, arguments: list[str]
) -> None:
    tenant = migration_world.tenant("Acme")
    migrate_command.set_recorded_revision(tenant, OLD_TENANT_REVISIONS[-1])

    result = migrate_command.run_flask(migration_world, "tenants", "migrate", *arguments)

    assert result.exit_code == 1
    assert result.stderr.endswith(f"Error: {SENTENCE}\n")
    assert migrate_command.recorded_revision(tenant) == OLD_TENANT_REVISIONS[-1]


def test_the_api_of_a_tenant_at_an_old_revision_is_unavailable(migration_world: Factory) -> None:
    tenant = migration_world.tenant("Acme")
    migrate_command.set_recorded_revision(tenant, OLD_TENANT_REVISIONS[-1])

    response = tenant.get("/calls")

    assert (response.status_code, response.json["code"]) == (503, "tenant-upgrading")


@pytest.mark.parametrize("revision", [OLD_TENANT_REVISIONS[0], OLD_TENANT_REVISIONS[-1]])
@pytest.mark.parametrize("options", [[], ["--replace", "--yes"]])
def test_an_old_archive_is_not_imported(
    migration_world: Factory, tmp_path: Path, revision: str, options: list[str]
) -> None:
    cli, tenant = TenantsCli(migration_world.app), migration_world.tenant("Acme")
    migrate_command.set_recorded_revision(tenant, revision)
    cli.invoke_json("export", tenant.id, tmp_path / "old.zip")
    migrate_command.set_recorded_revision(tenant, schema.head())

    output = cli.invoke_failing("import", tmp_path / "old.zip", *options)

    assert output == (
        "Error: The archive was made before 0.1.0, and no release can import it."
        " Nothing was imported.\n"
    )
    with public_session(database=app_services().database) as session:
        assert session.scalar(text("SELECT count(*) FROM public.tenants")) == 1
    assert tenant.get("/calls").status_code == 200
