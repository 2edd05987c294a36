"""The command as a process: killed, interrupted, at a terminal; the next run goes on."""

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
from vca.kit import db
from vca.registry.tenants.models import Tenant as TenantRow
from vca.tenancy.session import public_session

# What `flask` does, with the revisions of a folder besides our own.
FLASK = """
import sys
from pathlib import Path
from flask.cli import FlaskGroup
from vca.tenancy import schema
schema.set_migration_folders(*schema.migration_folders(), Path(sys.argv.pop(1)))
from wsgi import app
FlaskGroup(create_app=lambda: app).main(prog_name="flask")
"""
# Slow enough to be met in the middle, and failing if it were done twice.
SLOWLY = "ALTER TABLE phone_numbers ADD COLUMN nickname text; SELECT pg_sleep(0.05)"
COUNT = 16


@dataclass(frozen=True)
class MigrationSetup:
    """Tenants that are behind, and how to start a process that knows the next revision."""

    tenants: list[Tenant]
    revision: str
    environment: dict[str, str]
    command: list[str]

    def done(self) -> int:
        """How many are recorded as migrated."""
        query = select(func.count()).where(TenantRow.schema_revision == self.revision)
        with public_session() as session:
            return session.scalar(query) or 0

    def assert_consistent(self) -> None:
        """What is recorded is what each schema is."""
        for tenant in self.tenants:
            recorded = migrate_command.recorded_revision(tenant) == self.revision
            assert migrate_command.has_nicknames(tenant)[0] is recorded, tenant.id

    @contextmanager
    def started(self, output: Path, *words: str) -> Iterator[Program]:
        """The command at work: some tenants are done, others are not."""
        command = [*self.command, "tenants", "migrate", "--workers", "2", *words]
        with run_program(command, self.environment, output) as program:
            wait_until(lambda: self.done() >= 3 or not program.is_alive)
            yield program


def sixteen(world: Factory) -> list[Tenant]:
    """A fleet that takes about half a second."""
    return [world.tenant(f"Tenant {number}") for number in range(COUNT)]


@pytest.fixture
def template_builder() -> Builder:
    """There is that fleet."""
    return sixteen


@pytest.fixture
def migration_setup(
    migration_world: Factory, template_payload: list[Tenant], revision_tree: RevisionTree
) -> MigrationSetup:
    """That fleet, and one more revision."""
    revision = revision_tree.add_sql("slowly", SLOWLY)
    environment = {
        "DATABASE_URL": db.current_database().dsn,
        "MIGRATION_DATABASE_URL": admin_db.database_url(),
        "APP_ENV": "development",
        "APP_NAME": "VCA",
        "DEBUG": "false",
        "SECRET_KEY": "a-secret-of-the-test-suite-and-no-other",
    }
    command = [sys.executable, "-c", FLASK, str(revision_tree.folder)]
    return MigrationSetup(template_payload, revision, environment, command)


def test_a_run_that_is_killed_leaves_every_tenant_whole_and_the_next_run_goes_on(
    migration_world: Factory, migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    with migration_setup.started(tmp_path / "output") as program:
        assert program.is_alive, program.output.read_text()
        program.kill()

    # The server finishes the strings that it has already.
    wait_until(lambda: not _at_work())
    before = migration_setup.done()
    assert 3 <= before < COUNT
    migration_setup.assert_consistent()
    run = migrate_command.run_migrate(migration_world)
    assert (run.status, run.migrated) == (0, COUNT - before)
    migration_setup.assert_consistent()


def test_ctrl_c_finishes_the_tenants_at_work_and_says_how_many_are_left(
    migration_world: Factory, migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    with migration_setup.started(tmp_path / "output") as program:
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(timeout=20) == 130

    summary = program.lines()[-1]
    assert summary["event"] == "tenants.migrated"
    assert summary["interrupted"] is True
    assert summary["migrated"] == migration_setup.done() < COUNT
    assert summary["left"] == COUNT - migration_setup.done()
    assert summary["failed"] == {}
    assert "tenants.stopping" in program.events()
    migration_setup.assert_consistent()
    assert migrate_command.run_migrate(migration_world).migrated == summary["left"]


def test_ctrl_c_with_json_still_prints_the_one_document(
    migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    with migration_setup.started(tmp_path / "output", "--json") as program:
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(timeout=20) == 130

    [document] = program.lines()
    assert (document["interrupted"], document["migrated"]) == (True, migration_setup.done())


def test_two_processes_at_once_share_the_work(
    migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    command = [*migration_setup.command, "tenants", "migrate", "--workers", "2"]
    with (
        run_program(command, migration_setup.environment, tmp_path / "one") as one,
        run_program(command, migration_setup.environment, tmp_path / "two") as two,
    ):
        assert [it.process.wait(timeout=30) for it in (one, two)] == [0, 0]

    summaries = [it.lines()[-1] for it in (one, two)]
    assert sum(summary["migrated"] for summary in summaries) == COUNT
    assert [summary["failed"] for summary in summaries] == [{}, {}]


def test_an_operator_at_a_terminal_sees_a_bar(migration_setup: MigrationSetup) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*migration_setup.command, "tenants", "migrate"],
        cwd=ROOT,
        env={**os.environ, **migration_setup.environment, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # what a pty says when nobody is at its other end any more
        while read := os.read(ours, 4096):
            shown += read
    os.close(ours)

    assert process.wait(timeout=20) == 0
    assert f"{COUNT}/{COUNT}" in shown.decode()
    assert f"{COUNT} migrated to {migration_setup.revision}, 0 left." in shown.decode()
    assert '"event"' not in shown.decode()


def test_a_database_that_goes_away_ends_the_run_and_the_next_one_goes_on(
    migration_world: Factory, migration_setup: MigrationSetup, tmp_path: Path
) -> None:
    """A server that ends our connections, as in a fail-over, costs at most a retry."""
    with migration_setup.started(tmp_path / "output") as program:
        assert program.is_alive, program.output.read_text()
        for pid in _at_work():
            with admin_db.public_session() as session:
                session.execute(select(func.pg_terminate_backend(pid)))
        program.process.wait(timeout=30)

    migration_setup.assert_consistent()
    assert program.lines()[-1]["left"] == COUNT - migration_setup.done()
    assert migrate_command.run_migrate(migration_world).summary["left"] == 0
    migration_setup.assert_consistent()


def _at_work() -> list[int]:
    """The server processes that are migrating a tenant of this database."""
    query = text(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE '%COLUMN nickname%' AND pid <> pg_backend_pid()"
    )
    with admin_db.public_session() as session:
        return list(session.scalars(query).all())
