"""The tenants of a chaos run, their numbers, and queries of their stored calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text

from tests.chaos import webhook_endpoints
from tests.chaos.webhook_endpoints import ChaosEndpoint
from tests.fakes.http_receiver import HttpReceiver
from tests.support import admin_db
from tests.support.carrier_adapter import PROVIDER_TYPE
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import live_usage, turn_records

_HIGH_LIMITS_SQL = """
UPDATE settings SET limits = '{"concurrent_calls": 1000}',
    dial_policy = '{"per_minute": 100000, "per_day": 1000000}'
"""
_CALL = """
SELECT id, status, end_reason, end_detail, provider_call_id, started_at, dialled_at, ended_at,
    now() AS now
FROM calls WHERE provider_type = :carrier AND (provider_call_id = :id OR id::text = :id)
"""
_OPEN_JOBS = """
SELECT count(*) FROM jobs.procrastinate_jobs
WHERE task_name = 'calls.check' AND status IN ('todo', 'doing') AND args->>'tenant_id' = :id
"""


@dataclass(frozen=True)
class ChaosTenant:
    """A tenant with webhook endpoints, a number whose agent transfers, and one that records."""

    tenant: Tenant
    plain_number: dict[str, Any]
    recorded_number: dict[str, Any]
    endpoints: tuple[ChaosEndpoint, ...]

    @property
    def calls_url(self) -> str:
        return self.tenant.url("/calls")

    def find_call(self, call_id: str) -> Any:
        """Return the row of a call by its carrier's id or its own id; None if there is none."""
        with tenant_session(self.tenant.ref, database=app_services().database) as session:
            result = session.execute(text(_CALL), {"carrier": PROVIDER_TYPE, "id": call_id})
            return result.one_or_none()

    def speakers(self, call_id: UUID) -> list[str]:
        """Return the speakers of a call's turns, in order."""
        with tenant_session(self.tenant.ref, database=app_services().database) as session:
            return [turn.speaker for turn in turn_records.load_turns(session, call_id)]

    def recording_status(self, call_id: UUID) -> tuple[str, str] | None:
        """Return the status of a call's recording and of the carrier's copy, or None."""
        query = text("SELECT status, carrier_copy FROM recordings WHERE call_id = :id")
        with tenant_session(self.tenant.ref, database=app_services().database) as session:
            row = session.execute(query, {"id": call_id}).one_or_none()
            return (row[0], row[1]) if row else None

    def live_call_count(self) -> int:
        with tenant_session(self.tenant.ref, database=app_services().database) as session:
            return live_usage.live_usage(session).calls

    def check_job_count(self) -> int:
        """Return the number of pending or running jobs that check on a call."""
        with admin_db.public_session() as session:
            return int(session.execute(text(_OPEN_JOBS), {"id": self.tenant.id}).scalar_one())


def create_chaos_tenant(
    world: Factory, name: str, receivers: Sequence[HttpReceiver]
) -> ChaosTenant:
    """Create a tenant with high call limits, whose events go to these receivers."""
    tenant = world.tenant(name)
    endpoints = webhook_endpoints.attach_endpoints(tenant, receivers)  # before the first event
    world.sql(tenant, _HIGH_LIMITS_SQL)
    targets = {"sales": {"number": fresh_number()}}
    tools = ["transfer", "end_call"]
    plain_profile = tenant.profile(greeting=f"{name} here.", tools=tools, transfer_targets=targets)
    recorded_profile = tenant.profile(greeting=f"{name} here.", recording=True, is_default=False)
    return ChaosTenant(
        tenant,
        tenant.number(ai_profile_id=plain_profile["id"]),
        tenant.number(ai_profile_id=recorded_profile["id"]),
        endpoints,
    )
