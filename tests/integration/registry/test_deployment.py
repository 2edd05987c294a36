"""Tests of `flask db`: adopting a database, preflight checks, upgrades and grants."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from tests.support import databases
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.processes import WORKER_COMMAND, run_program
from tests.support.services import use_services, use_settings
from vca.kit import json
from vca.kit.db import Database
from vca.registry import preflight, schema
from vca.settings import Settings

ORIGINAL = "https://original.example"
COPY = "https://copy.example"


def _run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["db", *arguments])


def _run_json(app: Flask, *arguments: str) -> Any:
    return json.loads(_run(app, *arguments, "--json").stdout)


def _verdicts(app: Flask) -> dict[str, str]:
    """Return the verdict of each preflight check by its name."""
    return {check["what"]: check["verdict"] for check in _run_json(app, "check")}


@pytest.fixture
def restored_settings(
    app: Flask, owner_database: Database, template_settings: Settings
) -> Iterator[Settings]:
    """Return the settings of a deployment on a restored copy of another deployment's database."""
    use_services(settings=replace(template_settings, public_base_url=ORIGINAL))
    assert _run(app, "adopt").exit_code == 0
    copy_settings = replace(template_settings, public_base_url=COPY)
    use_services(settings=copy_settings)
    yield copy_settings
    use_services(settings=template_settings)
    _run(app, "adopt")


def _worker_environment(settings: Settings) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url,
        "WORKER_DATABASE_URL": settings.worker_database_url,
        "PUBLIC_BASE_URL": settings.public_base_url,
        "APP_ENV": settings.app_env,
        "APP_NAME": settings.app_name,
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
    }


def test_a_worker_exits_on_a_restored_copy_until_the_copy_is_adopted(
    app: Flask, restored_settings: Settings, tmp_path: Path
) -> None:
    command = [*WORKER_COMMAND, "--once"]
    with run_program(
        command, _worker_environment(restored_settings), tmp_path / "refused"
    ) as program:
        assert program.process.wait(timeout=60) == 1
    output = (tmp_path / "refused").read_text()
    assert f"PUBLIC_BASE_URL is {COPY}, and the database says {ORIGINAL}" in output
    assert "flask db adopt" in output

    adopt_output = _run_json(app, "adopt")
    with run_program(
        command, _worker_environment(restored_settings), tmp_path / "adopted"
    ) as program:
        assert program.process.wait(timeout=60) == 0

    assert adopt_output["adopted"] is True
    assert "The database already belongs to this deployment." in _run(app, "adopt").output


def _run_worker(settings: Settings, output: Path) -> int:
    """Run a worker that executes due jobs and exits; return its exit status."""
    with run_program([*WORKER_COMMAND, "--once"], _worker_environment(settings), output) as program:
        return program.process.wait(timeout=60)


@pytest.fixture
def settings_without_url(app: Flask, template_settings: Settings) -> Settings:
    """Return the settings of a deployment without a PUBLIC_BASE_URL, such as that of `make run`."""
    settings = replace(template_settings, public_base_url="")
    use_services(settings=settings)
    assert _run(app, "adopt").exit_code == 0
    return settings


def test_the_first_public_base_url_adopts_the_deployment_and_a_change_does_not(
    app: Flask, settings_without_url: Settings, owner_database: Database, tmp_path: Path
) -> None:
    first = replace(settings_without_url, public_base_url=ORIGINAL)
    second = replace(settings_without_url, public_base_url=COPY)
    snapshot_checker = SnapshotChecker(owner_database.dsn)

    statuses = [
        _run_worker(settings, tmp_path / "log")
        for settings in (settings_without_url, first, first, second)
    ]

    recorded = snapshot_checker.rows("SELECT public_base_url FROM public.deployment")
    snapshot_checker.close()
    assert statuses == [0, 0, 0, 1]
    assert recorded == [(ORIGINAL,)]
    assert f"PUBLIC_BASE_URL is {COPY}, and the database says {ORIGINAL}" in (
        (tmp_path / "log").read_text()
    )
    # A worker without a PUBLIC_BASE_URL accepts the database.
    assert _run_worker(settings_without_url, tmp_path / "unset") == 0


def test_a_copy_of_another_environment_does_not_record_its_url(
    app: Flask, settings_without_url: Settings, owner_database: Database, tmp_path: Path
) -> None:
    copy = replace(settings_without_url, app_env="staging", public_base_url=COPY)
    snapshot_checker = SnapshotChecker(owner_database.dsn)

    status = _run_worker(copy, tmp_path / "log")

    recorded = snapshot_checker.rows("SELECT public_base_url FROM public.deployment")
    snapshot_checker.close()
    assert (status, recorded) == (1, [("",)])


def test_an_upgrade_records_the_first_url_and_a_check_compares_it(
    app: Flask, settings_without_url: Settings
) -> None:
    use_services(settings=replace(settings_without_url, public_base_url=ORIGINAL))
    before = _verdicts(app)
    assert _run(app, "upgrade").exit_code == 0

    use_services(settings=replace(settings_without_url, public_base_url=COPY))
    after = _verdicts(app)

    assert (before["deployment"], after["deployment"]) == ("ok", "failed")


def test_an_upgrade_does_not_adopt_a_restored_copy(app: Flask, restored_settings: Settings) -> None:
    assert _run(app, "upgrade").exit_code == 0

    failed = [check["what"] for check in _run_json(app, "check") if check["verdict"] == "failed"]

    assert failed == ["deployment"]


def test_all_checks_pass_on_a_suitable_server(app: Flask, acme: Tenant) -> None:
    result = _run(app, "check")

    assert result.exit_code == 0, result.output
    checks = {check["what"]: check for check in _run_json(app, "check")}
    assert {check["verdict"] for check in checks.values()} <= {"ok", "warning"}
    assert checks["max_locks_per_transaction"]["tenants"] > 1_000
    assert {"web owns nothing", "worker runs no DDL", "owner makes roles"} <= checks.keys()


def test_checks_fail_when_web_and_worker_log_in_as_the_owner(
    app: Flask, settings: Settings
) -> None:
    owner_url = settings.migration_database_url
    use_settings(database_url=owner_url, worker_database_url=owner_url)

    result = _run(app, "check")

    assert result.exit_code == 1
    for check_name in ("web has no rights of its own", "web owns nothing", "web runs no DDL"):
        [line] = [line for line in result.output.splitlines() if check_name in line]
        assert line.startswith("failed")


def test_a_check_fails_when_the_worker_cannot_log_in(app: Flask, settings: Settings) -> None:
    invalid_url = databases.as_login(settings.database_url, "nobody_of_this_name")
    use_services(settings=replace(settings, worker_database_url=invalid_url))

    [check] = [check for check in _run_json(app, "check") if check["what"] == "worker logs in"]

    assert check["verdict"] == "failed"


@pytest.mark.parametrize(
    ("change", "repair", "check_name"),
    [
        (
            "GRANT UPDATE ON public.tenants TO vca_web",
            "REVOKE UPDATE ON public.tenants FROM vca_web",
            "web changes public by functions only",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO vca_web",
            "REVOKE CREATE ON SCHEMA public FROM vca_web",
            "web runs no DDL",
        ),
        (
            'GRANT USAGE ON SCHEMA "{schema}" TO vca_worker',
            'REVOKE USAGE ON SCHEMA "{schema}" FROM vca_worker',
            "worker reads no tenant's tables unentered",
        ),
    ],
)
def test_a_check_fails_when_a_login_has_too_many_privileges(
    change: str,
    repair: str,
    check_name: str,
    app: Flask,
    owner_database: Database,
    template_world: Factory,
) -> None:
    schema = template_world.tenant("Acme").ref.schema
    snapshot_checker = SnapshotChecker(owner_database.dsn)
    snapshot_checker.rows(change.format(schema=schema))

    verdicts = _verdicts(app)

    snapshot_checker.rows(repair.format(schema=schema))
    snapshot_checker.close()
    assert verdicts[check_name] == "failed"
    assert set(verdicts.values()) <= {"ok", "warning", "failed"}


def test_roles_prints_the_grants_and_applies_them_with_apply(
    app: Flask, owner_database: Database, template_world: Factory
) -> None:
    acme = template_world.tenant("Acme")
    printed = _run(app, "roles").output
    assert 'GRANT SELECT ON public.tenants TO "vca_web", "vca_worker";' in printed
    snapshot_checker = SnapshotChecker(owner_database.dsn)
    snapshot_checker.rows("REVOKE SELECT ON public.tenants FROM vca_web")

    applied = _run_json(app, "roles", "--apply")

    assert (applied["applied"], applied["roles_missing"]) == (True, [])
    has_privilege = "SELECT has_table_privilege('vca_web', 'public.tenants', 'SELECT')"
    assert snapshot_checker.rows(has_privilege) == [(True,)]
    snapshot_checker.close()
    assert acme.get("/calls").status_code == 200


def test_the_assumed_number_of_tables_per_tenant_is_correct(
    owner_database: Database, template_world: Factory
) -> None:
    schema = template_world.tenant("Acme").ref.schema
    snapshot_checker = SnapshotChecker(owner_database.dsn)
    count = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"

    assert snapshot_checker.rows(count, schema) == [(preflight.TABLES_PER_TENANT,)]
    snapshot_checker.close()


def test_check_and_upgrade_fail_with_the_same_message_on_an_old_server(
    app: Flask, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "OLDEST_SERVER", 19)
    sentence = "PostgreSQL 18 is not supported: VCA needs PostgreSQL 19 or newer."

    [finding] = [
        check
        for check in json.loads(_run(app, "check", "--json").stdout)
        if check["what"] == "version"
    ]
    upgrade = _run(app, "upgrade")

    assert (finding["verdict"], finding["detail"]) == ("failed", sentence)
    assert (upgrade.exit_code, upgrade.output) == (1, f"Error: {sentence}\n")
