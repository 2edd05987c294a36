"""`flask jobs lanes` shows the waiting and running jobs of each lane, and their tenants."""

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Tenant
from vca.kit import json

_ADD_JOBS = text(
    "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, args, status, scheduled_at)"
    " SELECT :lane, 'planted.test',"
    " jsonb_strip_nulls(jsonb_build_object('tenant_id', CAST(:tenant AS text))),"
    " CAST(:status AS jobs.procrastinate_job_status), now() + make_interval(secs => :due_in_s)"
    " FROM generate_series(1, :count)"
)


def _add(tenant: Tenant | None, count: int, **fields: Any) -> None:
    """Add jobs to the lane `calls` that have been due for a minute."""
    values = {"lane": "calls", "status": "todo", "due_in_s": -60.0}
    values |= {"tenant": tenant and tenant.id, "count": count} | fields
    with admin_db.public_session() as session:
        session.execute(_ADD_JOBS, values)


@pytest.fixture(autouse=True)
def _empty_queue(acme: Tenant, globex: Tenant) -> None:
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))


def _lanes(app: Flask) -> dict[str, dict[str, Any]]:
    result = app.test_cli_runner().invoke(args=["jobs", "lanes", "--json"])
    assert result.exit_code == 0, result.output
    return {lane["lane"]: lane for lane in json.loads(result.output)}


def test_each_lane_has_its_slots_and_jobs_and_its_largest_tenants(
    app: Flask, acme: Tenant, globex: Tenant
) -> None:
    _add(acme, 3)
    _add(acme, 2, status="doing")
    _add(globex, 1, due_in_s=-600.0)
    _add(globex, 4, due_in_s=600.0)
    _add(None, 1, status="doing")
    _add(acme, 5, status="failed")

    lanes = _lanes(app)

    calls = lanes["calls"]
    assert list(lanes) == ["calls", "deliveries", "batch"]
    assert (calls["slots"], calls["cap"]) == (4, 2)
    assert (calls["waiting"], calls["due"], calls["running"]) == (8, 4, 3)
    assert 600 <= calls["oldest_due_s"] < 660
    assert [
        (tenant["tenant_id"], tenant["waiting"], tenant["due"], tenant["running"])
        for tenant in calls["tenants"]
    ] == [(acme.id, 3, 3, 2), (globex.id, 5, 1, 0), (None, 0, 0, 1)]
    assert lanes["batch"] == {
        "lane": "batch",
        "slots": 2,
        "cap": 1,
        "waiting": 0,
        "due": 0,
        "running": 0,
        "oldest_due_s": None,
        "tenants": [],
    }


def test_jobs_of_earlier_releases_count_for_the_batch_lane(app: Flask, acme: Tenant) -> None:
    _add(acme, 2, lane="default")

    assert _lanes(app)["batch"]["due"] == 2


def test_the_text_has_a_line_for_each_lane_and_each_large_tenant(app: Flask, acme: Tenant) -> None:
    _add(acme, 3)

    output = app.test_cli_runner().invoke(args=["jobs", "lanes"]).output

    lane_table, tenant_table = (part.splitlines() for part in output.strip().split("\n\n"))
    assert lane_table[0].split() == [
        "lane", "slots", "cap", "waiting", "due", "running", "oldest_due_s",
    ]  # fmt: skip
    assert lane_table[1].split()[:6] == ["calls", "4", "2", "3", "3", "0"]
    assert [line.split()[0] for line in lane_table[1:]] == ["calls", "deliveries", "batch"]
    assert tenant_table[1].split()[:5] == ["calls", acme.id, "3", "3", "0"]
