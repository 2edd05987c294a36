"""Tests of `flask tenants migrate` as a process that is killed, interrupted or at a terminal."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from tests.support import admin_db, migrate_command
from tests.support.ast_index import ROOT
from tests.support.database_templates import Builder
from tests.support.factories import Factory, Tenant
from tests.support.processes import Program, run_program, wait_until
from tests.support.revision_tree import RevisionTree
from tests.support.services import app_services
from vca.registry.tenants.models import Tenant as TenantRow
from vca.tenancy.session import public_session

# The program `flask`, with the revisions of another folder besides the product's.
FLASK_PROGRAM = """
import sys
from pathlib import Path
from flask.cli import FlaskGroup
from vca.tenancy import schema
schema.set_migration_folders(*schema.migration_folders(), Path(sys.argv.pop(1)))
from wsgi import app
FlaskGroup(create_app=lambda: app).main(prog_name="flask")
"""
# Slow enough for an interruption half-way. A second execution in the same tenant fails.
SLOW_SQL = "ALTER TABLE phone_numbers ADD COLUMN nickname text; SELECT pg_sleep(0.05)"
TENANT_COUNT = 16


@dataclass(frozen=True)
class MigrationSetup:
    """Outdated tenants, and the command and environment of a process with the next revision."""

    tenants: list[Tenant]
    revision: str
    environment: dict[str, str]
    command: list[str]

    def migrated_count(self) -> int:
        """Return the number of tenants that are recorded as migrated."""
        query = select(func.count()).where(TenantRow.schema_revision == self.revision)
        with public_session(database=app_services().database) as session:
            return session.scalar(query) or 0

    def assert_consistent(self) -> None:
        """Check that the recorded revision of each tenant matches its schema."""
        for tenant in self.tenants:
            is_migrated = migrate_command.recorded_revision(tenant) == self.revision
            assert migrate_command.has_nicknames(tenant)[0] is is_migrated, tenant.id

    @contextmanager
    def run_until_half_way(self, output: Path, *arguments: str) -> Iterator[Program]:
        """Run the command; enter the block when some tenants are migrated and others are not."""
        command = [*self.command, "tenants", "migrate", "--workers", "2", *arguments]
        with run_program(command, self.environment, output) as program:
            wait_until(lambda: self.migrated_count() >= 3 or not program.is_alive)
            yield program


def sixteen_tenants(world: Factory) -> list[Tenant]:
    """Create enough tenants for a run of about half a second."""
    return [world.tenant(f"Tenant {number}") for number in range(TENANT_COUNT)]


@pytest.fixture
def template_builder() -> Builder:
    """Use the template with sixteen tenants."""
    return sixteen_tenants


@pytest.fixture
def migration_setup(
    migration_world: Factory, template_payload: list[Tenant], revision_tree: RevisionTree
) -> MigrationSetup:
    """Add a slow revision and return the setup of its migration."""
    revision = revision_tree.add_sql("slowly", SLOW_SQL)
    environment = {
        "DATABASE_URL": app_services().database.dsn,
        "MIGRATION_DATABASE_URL": admin_db.database_url(),
        "APP_ENV": "development",
        "APP_NAME": "VCA",
        "DEBUG": "false",
        "SECRET_KEY": "a-secret-of-the-test-suite-and-no-other",
    }
    command = [sys.executable, "-c", FLASK_PROGRAM, str(revision_tree.folder)]
    return MigrationSetup(template_payload, revision, environment, command)


def test_a_killed_run_leaves_consistent_tenants_for_the_next_run(
    migration_world: Factory, migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    with migration_setup.run_until_half_way(tmp_path / "output") as program:
        assert program.is_alive, program.output.read_text()
        program.kill()

    # The server finishes the statements that it has received.
    wait_until(lambda: not _migrating_pids())
    migrated_before = migration_setup.migrated_count()
    assert 3 <= migrated_before < TENANT_COUNT
    migration_setup.assert_consistent()
    run = migrate_command.run_migrate(migration_world)
    assert (run.status, run.migrated) == (0, TENANT_COUNT - migrated_before)
    migration_setup.assert_consistent()


def test_ctrl_c_finishes_started_tenants_and_prints_the_remaining_count(
    migration_world: Factory, migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    with migration_setup.run_until_half_way(tmp_path / "output") as program:
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(timeout=20) == 130

    summary = program.lines()[-1]
    assert summary["event"] == "tenants.migrated"
    assert summary["interrupted"] is True
    assert summary["migrated"] == migration_setup.migrated_count() < TENANT_COUNT
    assert summary["left"] == TENANT_COUNT - migration_setup.migrated_count()
    assert summary["failed"] == {}
    assert "tenants.stopping" in program.events()
    migration_setup.assert_consistent()
    assert migrate_command.run_migrate(migration_world).migrated == summary["left"]


def test_ctrl_c_with_json_prints_the_summary_document(
    migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    with migration_setup.run_until_half_way(tmp_path / "output", "--json") as program:
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(timeout=20) == 130

    [document] = program.lines()
    assert (document["interrupted"], document["migrated"]) == (
        True,
        migration_setup.migrated_count(),
    )


def test_two_concurrent_processes_share_the_work(
    migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    command = [*migration_setup.command, "tenants", "migrate", "--workers", "2"]
    with (
        run_program(command, migration_setup.environment, tmp_path / "one") as first_program,
        run_program(command, migration_setup.environment, tmp_path / "two") as second_program,
    ):
        programs = (first_program, second_program)
        assert [program.process.wait(timeout=30) for program in programs] == [0, 0]

    summaries = [program.lines()[-1] for program in programs]
    assert sum(summary["migrated"] for summary in summaries) == TENANT_COUNT
    assert [summary["failed"] for summary in summaries] == [{}, {}]


def test_a_terminal_shows_a_progress_bar(migration_setup: MigrationSetup) -> None:
    terminal_fd, process_fd = pty.openpty()
    process = subprocess.Popen(
        [*migration_setup.command, "tenants", "migrate"],
        cwd=ROOT,
        env={**os.environ, **migration_setup.environment, "TERM": "xterm"},
        stdin=process_fd,
        stdout=process_fd,
        stderr=process_fd,
    )
    os.close(process_fd)
    output = b""
    with suppress(OSError):  # a pty raises it after its other end is closed
        while chunk := os.read(terminal_fd, 4096):
            output += chunk
    os.close(terminal_fd)

    assert process.wait(timeout=20) == 0
    assert f"{TENANT_COUNT}/{TENANT_COUNT}" in output.decode()
    assert f"{TENANT_COUNT} migrated to {migration_setup.revision}, 0 left." in output.decode()
    assert '"event"' not in output.decode()


def test_lost_database_connections_leave_work_for_the_next_run(
    migration_world: Factory, migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    """The server terminates the connections, as in a fail-over."""
    with migration_setup.run_until_half_way(tmp_path / "output") as program:
        assert program.is_alive, program.output.read_text()
        for pid in _migrating_pids():
            with admin_db.public_session() as session:
                session.execute(select(func.pg_terminate_backend(pid)))
        program.process.wait(timeout=30)

    migration_setup.assert_consistent()
    assert program.lines()[-1]["left"] == TENANT_COUNT - migration_setup.migrated_count()
    assert migrate_command.run_migrate(migration_world).summary["left"] == 0
    migration_setup.assert_consistent()


def _migrating_pids() -> list[int]:
    """Return the pids of the server processes that migrate a tenant of this database."""
    query = text(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE '%COLUMN nickname%' AND pid <> pg_backend_pid()"
    )
    with admin_db.public_session() as session:
        return list(session.scalars(query).all())
