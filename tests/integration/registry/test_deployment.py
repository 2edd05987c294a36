"""Whose database it is, and whether the server is fit: what an operator runs and reads."""

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
from vca.kit import json
from vca.kit.db import Database
from vca.registry import preflight, schema
from vca.settings import Settings

ORIGINAL = "https://original.example"
COPY = "https://copy.example"


def _run(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["db", *words])


def _json(app: Flask, *words: str) -> Any:
    return json.loads(_run(app, *words, "--json").stdout)


@pytest.fixture
def restored(
    app: Flask, owner_database: Database, template_settings: Settings
) -> Iterator[Settings]:
    """The database of another deployment, as a restore leaves it."""
    app.extensions["settings"] = replace(template_settings, public_base_url=ORIGINAL)
    assert _run(app, "adopt").exit_code == 0
    elsewhere = replace(template_settings, public_base_url=COPY)
    app.extensions["settings"] = elsewhere
    yield elsewhere
    app.extensions["settings"] = template_settings
    _run(app, "adopt")


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url,
        "WORKER_DATABASE_URL": settings.worker_database_url,
        "PUBLIC_BASE_URL": settings.public_base_url,
        "APP_ENV": settings.app_env,
        "APP_NAME": settings.app_name,
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
    }


def test_a_worker_refuses_a_restored_copy_until_it_is_adopted(
    app: Flask, restored: Settings, tmp_path: Path
) -> None:
    command = [*WORKER_COMMAND, "--once"]
    with run_program(command, _environment(restored), tmp_path / "refused") as program:
        assert program.process.wait(timeout=60) == 1
    said = (tmp_path / "refused").read_text()
    assert f"PUBLIC_BASE_URL is {COPY}, and the database says {ORIGINAL}" in said
    assert "flask db adopt" in said

    adopted = _json(app, "adopt")
    with run_program(command, _environment(restored), tmp_path / "adopted") as program:
        assert program.process.wait(timeout=60) == 0

    assert adopted["adopted"] is True
    assert "The database already belongs to this deployment." in _run(app, "adopt").output


def _worker(settings: Settings, output: Path) -> int:
    """Let a worker do what is due; return its exit status."""
    with run_program([*WORKER_COMMAND, "--once"], _environment(settings), output) as program:
        return program.process.wait(timeout=60)


@pytest.fixture
def without_url(app: Flask, template_settings: Settings) -> Settings:
    """A deployment that was set up without a PUBLIC_BASE_URL, as `make run` does."""
    plain = replace(template_settings, public_base_url="")
    app.extensions["settings"] = plain
    assert _run(app, "adopt").exit_code == 0
    return plain


def test_the_first_public_base_url_adopts_the_deployment_and_a_change_does_not(
    app: Flask, without_url: Settings, owner_database: Database, tmp_path: Path
) -> None:
    first = replace(without_url, public_base_url=ORIGINAL)
    second = replace(without_url, public_base_url=COPY)
    witness = SnapshotChecker(owner_database.dsn)

    statuses = [_worker(it, tmp_path / "log") for it in (without_url, first, first, second)]

    recorded = witness.rows("SELECT public_base_url FROM public.deployment")
    witness.close()
    assert statuses == [0, 0, 0, 1]
    assert recorded == [(ORIGINAL,)]
    assert f"PUBLIC_BASE_URL is {COPY}, and the database says {ORIGINAL}" in (
        (tmp_path / "log").read_text()
    )
    assert _worker(without_url, tmp_path / "unset") == 0  # taking it away is no other deployment


def test_a_copy_of_another_environment_does_not_record_its_url(
    app: Flask, without_url: Settings, owner_database: Database, tmp_path: Path
) -> None:
    copy = replace(without_url, app_env="staging", public_base_url=COPY)
    witness = SnapshotChecker(owner_database.dsn)

    status = _worker(copy, tmp_path / "log")

    recorded = witness.rows("SELECT public_base_url FROM public.deployment")
    witness.close()
    assert (status, recorded) == (1, [("",)])


def test_an_upgrade_records_the_first_url_and_a_check_passes_with_it(
    app: Flask, without_url: Settings
) -> None:
    app.extensions["settings"] = replace(without_url, public_base_url=ORIGINAL)
    before = {it["what"]: it["verdict"] for it in _json(app, "check")}
    assert _run(app, "upgrade").exit_code == 0

    app.extensions["settings"] = replace(without_url, public_base_url=COPY)
    after = {it["what"]: it["verdict"] for it in _json(app, "check")}

    assert (before["deployment"], after["deployment"]) == ("ok", "failed")


def test_an_upgrade_does_not_adopt(app: Flask, restored: Settings) -> None:
    assert _run(app, "upgrade").exit_code == 0

    failed = [it["what"] for it in _json(app, "check") if it["verdict"] == "failed"]

    assert failed == ["deployment"]


def test_a_server_that_gives_what_is_needed_passes(app: Flask, acme: Tenant) -> None:
    result = _run(app, "check")

    assert result.exit_code == 0, result.output
    found = {it["what"]: it for it in _json(app, "check")}
    assert {it["verdict"] for it in found.values()} <= {"ok", "warning"}
    assert found["max_locks_per_transaction"]["tenants"] > 1_000
    assert {"web owns nothing", "worker runs no DDL", "owner makes roles"} <= found.keys()


def test_one_login_for_everything_is_found_out(app: Flask, settings: Settings) -> None:
    every = settings.migration_database_url
    app.extensions["settings"] = replace(settings, database_url=every, worker_database_url=every)

    result = _run(app, "check")

    assert result.exit_code == 1
    for what in ("web has no rights of its own", "web owns nothing", "web runs no DDL"):
        [line] = [line for line in result.output.splitlines() if what in line]
        assert line.startswith("failed")


def test_a_login_that_cannot_log_in_is_found_out(app: Flask, settings: Settings) -> None:
    wrong = databases.as_login(settings.database_url, "nobody_of_this_name")
    app.extensions["settings"] = replace(settings, worker_database_url=wrong)

    [found] = [it for it in _json(app, "check") if it["what"] == "worker logs in"]

    assert found["verdict"] == "failed"


@pytest.mark.parametrize(
    ("spoil", "mend", "what"),
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
def test_a_right_too_much_is_found_out(
    spoil: str, mend: str, what: str, app: Flask, owner_database: Database, template_world: Factory
) -> None:
    schema = template_world.tenant("Acme").ref.schema
    witness = SnapshotChecker(owner_database.dsn)
    witness.rows(spoil.format(schema=schema))

    found = {it["what"]: it["verdict"] for it in _json(app, "check")}

    witness.rows(mend.format(schema=schema))
    witness.close()
    assert found[what] == "failed"
    assert set(found.values()) <= {"ok", "warning", "failed"}


def test_the_grants_are_printed_and_can_be_applied(
    app: Flask, owner_database: Database, template_world: Factory
) -> None:
    acme = template_world.tenant("Acme")
    printed = _run(app, "roles").output
    assert 'GRANT SELECT ON public.tenants TO "vca_web", "vca_worker";' in printed
    witness = SnapshotChecker(owner_database.dsn)
    witness.rows("REVOKE SELECT ON public.tenants FROM vca_web")

    applied = _json(app, "roles", "--apply")

    assert (applied["applied"], applied["roles_missing"]) == (True, [])
    may = "SELECT has_table_privilege('vca_web', 'public.tenants', 'SELECT')"
    assert witness.rows(may) == [(True,)]
    witness.close()
    assert acme.get("/calls").status_code == 200


def test_the_tables_that_a_dump_locks_are_counted_as_they_are(
    owner_database: Database, template_world: Factory
) -> None:
    schema = template_world.tenant("Acme").ref.schema
    witness = SnapshotChecker(owner_database.dsn)
    count = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"

    assert witness.rows(count, schema) == [(preflight.TABLES_PER_TENANT,)]
    witness.close()


def test_an_older_server_fails_the_check_and_the_upgrade_with_one_sentence(
    app: Flask, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "OLDEST_SERVER", 19)
    sentence = "PostgreSQL 18 is not supported: VCA needs PostgreSQL 19 or newer."

    [finding] = [
        it for it in json.loads(_run(app, "check", "--json").stdout) if it["what"] == "version"
    ]
    upgrade = _run(app, "upgrade")

    assert (finding["verdict"], finding["detail"]) == ("failed", sentence)
    assert (upgrade.exit_code, upgrade.output) == (1, f"Error: {sentence}\n")
