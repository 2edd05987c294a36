"""Event times that a tenant signs with the secret of its own account: our clock decides."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.calls.accounts.conftest import list_calls
from tests.support import admin_db
from tests.support.accounts import OwnAccount
from tests.support.api import Api
from tests.support.call_times import age_calls
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant
from tests.support.usage import total_quantities
from vca.kit import clock

FORGED_TIMES = {
    "before the call": (clock.now() - timedelta(minutes=10)).isoformat(),
    "1970": "1970-01-01T00:00:00+00:00",
    "8999": "8999-12-31T23:59:59+00:00",
    "an hour ahead": (clock.now() + timedelta(hours=1)).isoformat(),
}


def _parse(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("forged_time", FORGED_TIMES.values(), ids=FORGED_TIMES)
def test_a_call_on_a_tenants_account_is_billed_by_our_clock(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    forged_time: str,
) -> None:
    client = own_account.carrier_client(anonymous)
    state = client.ring(number["did_number"], "own-1")["state"]
    age_calls(world, acme, 3)

    client.send_status("own-1", "answered", state=state, at=forged_time)
    client.send_status("own-1", "completed", state=state, at=forged_time)

    [call] = list_calls(acme)
    assert total_quantities(acme)["agent"] == 4  # three seconds and what the requests took
    assert call["duration_seconds"] == 3
    times = [_parse(call[name]) for name in ("started_at", "answered_at", "ended_at")]
    assert times == sorted(times)
    assert times[-1] <= clock.now()


@pytest.mark.parametrize("forged_time", FORGED_TIMES.values(), ids=FORGED_TIMES)
def test_no_time_of_a_carrier_lies_outside_its_call(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    own_account: OwnAccount,
    forged_time: str,
) -> None:
    world.sql(acme, "UPDATE settings SET retention_days = '{\"transcripts\": 30}'")
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    age_calls(world, acme, 3)
    [before] = list_calls(acme)

    for status in ("ringing", "answered", "completed"):
        carrier_client.send_status("call-1", status, state=state, at=forged_time)

    [call] = list_calls(acme)
    assert call["started_at"] == before["started_at"]
    started_at, answered_at, ended_at = (
        _parse(call[name]) for name in ("started_at", "answered_at", "ended_at")
    )
    assert started_at <= answered_at <= _parse(before["answered_at"])
    assert answered_at <= ended_at <= clock.now() + timedelta(seconds=60)
    assert 0 <= call["duration_seconds"] <= 63
    events = acme.get(f"/calls/{call['id']}/events").json
    for event in events:
        assert started_at <= _parse(event["timestamp"]) <= clock.now() + timedelta(seconds=60)
    [purged_at] = _purge_times(acme)
    assert timedelta(days=29) < purged_at - clock.now() < timedelta(days=31)


def _purge_times(tenant: Tenant) -> Sequence[datetime]:
    """Return when the tenant's pending purges of transcripts are due."""
    query = text(
        "SELECT scheduled_at FROM jobs.procrastinate_jobs WHERE task_name = 'calls.forget'"
        " AND status = 'todo' AND args->>'tenant_id' = :tenant_id"
    )
    with admin_db.public_session() as session:
        return session.scalars(query, {"tenant_id": tenant.id}).all()


def test_a_time_of_the_deployments_own_carrier_is_believed(
    acme: Tenant, world: Factory, carrier_client: CarrierClient, own_account: OwnAccount
) -> None:
    ended_at = clock.now() - timedelta(seconds=20)
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    age_calls(world, acme, 60)

    carrier_client.send_status("call-1", "completed", state=state, at=ended_at.isoformat())

    [call] = list_calls(acme)
    assert _parse(call["ended_at"]) == ended_at
    assert total_quantities(acme)["agent"] == 40
