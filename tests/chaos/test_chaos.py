"""One death at each crash point, with calls going on: none is dialled twice, each has its end.

And the tenants' own systems have heard of everything, once for each id.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.chaos.points import POINTS
from tests.chaos.rehearsal import Plan, Rehearsal, prepared
from tests.support import databases
from tests.support.world import World
from vca.kit import db
from vca.kit.db import Database
from vca.settings import Settings

SEED = 4
CALLS = 6


@pytest.fixture
def rehearsal(
    request: pytest.FixtureRequest,
    app: Flask,
    settings: Settings,
    database_url: str,
    tmp_path: Path,
) -> Iterator[Rehearsal]:
    """Processes on a database whose queue is nobody else's."""
    server: databases.Server = request.config.stash[databases.SERVER]
    url = server.clone(f"{make_url(database_url).database}_chaos")
    database = db.set_current_database(
        Database(databases.as_login(url, databases.WEB), pool_size=CALLS)
    )
    with prepared(settings, url, tmp_path, World(app)) as ready:
        yield ready
    database.close()


def test_a_death_at_each_point_loses_no_call_and_dials_none_twice(rehearsal: Rehearsal) -> None:
    report = rehearsal.run(Plan(kills=len(POINTS), seed=SEED, calls=CALLS, most_s=90))

    assert report.problems == []
    assert dict(report.kills) == dict.fromkeys(POINTS, 1)
    assert report.requests > report.events > 0
