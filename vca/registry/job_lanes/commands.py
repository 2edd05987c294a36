"""`flask jobs`: show what the job workers have to do."""

from typing import Any

from vca import cli
from vca.jobs import lanes
from vca.registry.job_lanes import service
from vca.registry.job_lanes.service import LaneState
from vca.services import current_services
from vca.settings import Settings
from vca.tenancy.session import public_session

jobs = cli.Group("jobs", help="Show the job queue.")

_LANE_COLUMNS = ("lane", "slots", "cap", "waiting", "due", "running", "oldest_due_s")
_TENANT_COLUMNS = ("lane", "tenant_id", "waiting", "due", "running", "oldest_due_s")


@jobs.command("lanes", short_help="Show the jobs of each lane.")
@cli.as_json
def show_lanes(as_json: bool) -> None:
    """Show how many jobs wait and run in each lane, and the tenants with the most due jobs.

    `slots` is the number of jobs that a worker with these settings runs at the same time, and `cap`
    how many of one tenant all workers run. `waiting` includes jobs that are due later. A tenant
    without an id is the platform.
    """
    settings: Settings = current_services().settings
    configured = {lane.name: lane for lane in lanes.from_settings(settings)}
    with public_session(database=current_services().database) as session:
        states = service.read_lanes(session)
    rows = [_lane_row(state, configured.get(state.name)) for state in states]
    cli.print_result(rows, as_json=as_json, text=_format_lanes(rows))


def _lane_row(state: LaneState, lane: lanes.Lane | None) -> dict[str, Any]:
    values = state.as_dict()
    return {
        "lane": values.pop("lane"),
        "slots": lane.slots if lane else None,
        "cap": lane.cap if lane else None,
        **values,
    }


def _format_lanes(rows: list[dict[str, Any]]) -> str:
    tables = [cli.format_table([_rounded(row) for row in rows], _LANE_COLUMNS)]
    tenants = [
        _rounded({"lane": row["lane"], **tenant}) for row in rows for tenant in row["tenants"]
    ]
    if tenants:
        tables.append(cli.format_table(tenants, _TENANT_COLUMNS))
    return "\n\n".join(tables)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    seconds = row["oldest_due_s"]
    return {**row, "oldest_due_s": None if seconds is None else round(seconds, 1)}
