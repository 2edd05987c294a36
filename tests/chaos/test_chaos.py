"""Kill one process at each failpoint during calls: no call is dialled twice, and every call ends.

The tenants' webhook endpoints receive every event, once for each id.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.chaos.failpoints import FAILPOINTS
from tests.chaos.runner import ChaosPlan, ChaosRun, start_chaos_run
from tests.support import databases
from tests.support.factories import Factory
from tests.support.services import open_database, use_database
from vca.settings import Settings

SEED = 4
CALLS = 6


@pytest.fixture
def chaos_run(
    request: pytest.FixtureRequest,
    app: Flask,
    settings: Settings,
    database_url: str,
    tmp_path: Path,
) -> Iterator[ChaosRun]:
    """Run processes on a database with a job queue that no other test uses."""
    server: databases.DatabaseServer = request.getfixturevalue("database_server")
    url = server.clone_template(f"{make_url(database_url).database}_chaos")
    database = use_database(open_database(databases.as_login(url, databases.WEB), pool_size=CALLS))
    with start_chaos_run(settings, url, tmp_path, Factory(app)) as new_run:
        yield new_run
    database.close()


def test_a_kill_at_each_failpoint_loses_no_call_and_dials_none_twice(chaos_run: ChaosRun) -> None:
    report = chaos_run.run(
        ChaosPlan(kills=len(FAILPOINTS), seed=SEED, calls=CALLS, max_duration_s=90)
    )

    assert report.problems == []
    assert dict(report.kills) == dict.fromkeys(FAILPOINTS, 1)
    assert report.requests > report.events > 0
