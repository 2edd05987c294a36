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

from tests.support import fleet, owner
from tests.support.houses import Builder
from tests.support.processes import Program, running, until
from tests.support.revisions import Tree
from tests.support.source import ROOT
from tests.support.world import Tenant, World
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
class Site:
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
            recorded = fleet.revision(tenant) == self.revision
            assert fleet.has_nicknames(tenant)[0] is recorded, tenant.id

    @contextmanager
    def started(self, output: Path, *words: str) -> Iterator[Program]:
        """The command at work: some tenants are done, others are not."""
        command = [*self.command, "tenants", "migrate", "--workers", "2", *words]
        with running(command, self.environment, output) as program:
            until(lambda: self.done() >= 3 or not program.alive)
            yield program


def sixteen(world: World) -> list[Tenant]:
    """A fleet that takes about half a second."""
    return [world.tenant(f"Tenant {number}") for number in range(COUNT)]


@pytest.fixture
def built() -> Builder:
    """There is that fleet."""
    return sixteen


@pytest.fixture
def site(fleet_world: World, dwellers: list[Tenant], revisions: Tree) -> Site:
    """That fleet, and one more revision."""
    revision = revisions.sql("slowly", SLOWLY)
    environment = {
        "DATABASE_URL": db.current_database().dsn,
        "MIGRATION_DATABASE_URL": owner.url(),
        "APP_ENV": "development",
        "APP_NAME": "VCA",
        "DEBUG": "false",
        "SECRET_KEY": "a-secret-of-the-test-suite-and-no-other",
    }
    command = [sys.executable, "-c", FLASK, str(revisions.folder)]
    return Site(dwellers, revision, environment, command)


def test_a_run_that_is_killed_leaves_every_tenant_whole_and_the_next_run_goes_on(
    fleet_world: World, site: Site, tmp_path: Path
) -> None:
    with site.started(tmp_path / "output") as program:
        assert program.alive, program.output.read_text()
        program.kill()

    # The server finishes the strings that it has already.
    until(lambda: not _at_work())
    before = site.done()
    assert 3 <= before < COUNT
    site.assert_consistent()
    run = fleet.migrate(fleet_world)
    assert (run.status, run.migrated) == (0, COUNT - before)
    site.assert_consistent()


def test_ctrl_c_finishes_the_tenants_at_work_and_says_how_many_are_left(
    fleet_world: World, site: Site, tmp_path: Path
) -> None:
    with site.started(tmp_path / "output") as program:
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(timeout=20) == 130

    summary = program.lines()[-1]
    assert summary["event"] == "tenants.migrated"
    assert summary["interrupted"] is True
    assert summary["migrated"] == site.done() < COUNT
    assert summary["left"] == COUNT - site.done()
    assert summary["failed"] == {}
    assert "tenants.stopping" in program.events()
    site.assert_consistent()
    assert fleet.migrate(fleet_world).migrated == summary["left"]


def test_ctrl_c_with_json_still_prints_the_one_document(site: Site, tmp_path: Path) -> None:
    with site.started(tmp_path / "output", "--json") as program:
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(timeout=20) == 130

    [document] = program.lines()
    assert (document["interrupted"], document["migrated"]) == (True, site.done())


def test_two_processes_at_once_share_the_work(site: Site, tmp_path: Path) -> None:
    command = [*site.command, "tenants", "migrate", "--workers", "2"]
    with (
        running(command, site.environment, tmp_path / "one") as one,
        running(command, site.environment, tmp_path / "two") as two,
    ):
        assert [it.process.wait(timeout=30) for it in (one, two)] == [0, 0]

    summaries = [it.lines()[-1] for it in (one, two)]
    assert sum(summary["migrated"] for summary in summaries) == COUNT
    assert [summary["failed"] for summary in summaries] == [{}, {}]


def test_an_operator_at_a_terminal_sees_a_bar(site: Site) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*site.command, "tenants", "migrate"],
        cwd=ROOT,
        env={**os.environ, **site.environment, "TERM": "xterm"},
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
    assert f"{COUNT} migrated to {site.revision}, 0 left." in shown.decode()
    assert '"event"' not in shown.decode()


def test_a_database_that_goes_away_ends_the_run_and_the_next_one_goes_on(
    fleet_world: World, site: Site, tmp_path: Path
) -> None:
    """A server that ends our connections, as in a fail-over, costs at most a retry."""
    with site.started(tmp_path / "output") as program:
        assert program.alive, program.output.read_text()
        for pid in _at_work():
            with owner.public() as session:
                session.execute(select(func.pg_terminate_backend(pid)))
        program.process.wait(timeout=30)

    site.assert_consistent()
    assert program.lines()[-1]["left"] == COUNT - site.done()
    assert fleet.migrate(fleet_world).facts["left"] == 0
    site.assert_consistent()


def _at_work() -> list[int]:
    """The server processes that are migrating a tenant of this database."""
    query = text(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE '%COLUMN nickname%' AND pid <> pg_backend_pid()"
    )
    with owner.public() as session:
        return list(session.scalars(query).all())
