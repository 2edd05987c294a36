"""How many simulations a tenant may have open, and how long they are stored."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.fakes.models import SequenceModel
from tests.support import admin_db
from tests.support.caps import set_cap
from tests.support.carrier_client import CarrierClient
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.conversation.llm import ToolCall
from vca.kit import clock
from vca.tenant.calls.control import reconciliation
from vca.tenant.calls.core import retention
from vca.tenant.calls.core.call_types import CallRef

_SELECT_PURGES = text(
    "SELECT scheduled_at FROM jobs.procrastinate_jobs WHERE status = 'todo'"
    " AND task_name = 'calls.forget_simulated' AND args->>'tenant_id' = :tenant_id"
)


def _list_purge_times(tenant: Tenant) -> list[Any]:
    with admin_db.public_session() as session:
        return list(session.scalars(_SELECT_PURGES, {"tenant_id": tenant.id}))


def _delete_jobs(tenant: Tenant, task: str) -> None:
    delete = text(
        "DELETE FROM jobs.procrastinate_jobs WHERE task_name = :task"
        " AND args->>'tenant_id' = :tenant_id"
    )
    with admin_db.public_session() as session:
        session.execute(delete, {"task": task, "tenant_id": tenant.id})


def _end(tenant: Tenant, call_id: str) -> None:
    assert tenant.post(f"/calls/{call_id}/hangup").status_code == 200


# --- Open simulations -----------------------------------------------------------------------------


def test_a_tenant_has_at_most_twenty_open_simulations(acme: Tenant, globex: Tenant) -> None:
    profile_id = acme.profile(is_default=True)["id"]
    number, closed = acme.number(), acme.number(mode="closed")
    call_ids = [
        acme.post("/simulations", body).json["call_id"]
        for body in [{"to": number["did_number"]}, {"ai_profile_id": profile_id}] * 10
    ]
    outbound = {
        "direction": "outbound",
        "to": fresh_number(),
        "from_phone_number_id": number["id"],
    }

    responses = [
        acme.post("/simulations", body)
        for body in ({"to": number["did_number"]}, {"ai_profile_id": profile_id}, outbound)
    ]
    ended_at_once = acme.post("/simulations", {"to": closed["did_number"]})
    other_tenant = globex.post("/simulations", {"ai_profile_id": globex.profile()["id"]})
    _end(acme, call_ids[0])
    next_response = acme.post("/simulations", outbound)

    for response in responses:
        assert (response.status_code, response.json["code"]) == (409, "limit-reached")
        assert response.json["limit"] == "simulations"
    assert ended_at_once.status_code == other_tenant.status_code == 201
    assert next_response.status_code == 201


def test_simultaneous_simulations_do_not_exceed_the_limit(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cap(monkeypatch, "simulations", 2)
    profile_id = acme.profile()["id"]
    number = acme.number()["did_number"]
    bodies = [{"to": number}, {"ai_profile_id": profile_id}] * 3

    responses = run_concurrently([partial(acme.post, "/simulations", body) for body in bodies])

    assert sorted(response.status_code for response in responses) == [201] * 2 + [409] * 4


def test_a_replay_is_not_refused_at_the_limit(
    acme: Tenant, script_model: Callable[..., SequenceModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    script_model(["Good."], ["Fine."])
    profile_id = acme.profile()["id"]
    call_id = acme.simulate(acme.number()["did_number"])["call_id"]
    acme.say(call_id, "Hello.")
    _end(acme, call_id)
    set_cap(monkeypatch, "simulations", 0)

    response = acme.post(f"/calls/{call_id}/replay", {"ai_profile_id": profile_id})

    assert response.status_code == 200


# --- Abandoned simulations ------------------------------------------------------------------------


def test_a_transfer_and_a_voicemail_that_nobody_continues_are_abandoned(
    acme: Tenant, script_model: Callable[..., SequenceModel]
) -> None:
    script_model(["One moment. ", ToolCall("transfer", '{"target": "sales"}')])
    acme.profile(tools=["transfer"], transfer_targets={"sales": {"number": "+442079460999"}})
    hours = {"weekly": {}, "closed_action": "voicemail"}
    numbers = acme.number(), acme.number(hours=hours)
    call_ids = [acme.simulate(number["did_number"])["call_id"] for number in numbers]
    assert acme.say(call_ids[0], "Sales, please.")["status"] == "transferring"

    later_time = clock.now() + timedelta(minutes=6)
    results = [
        reconciliation.check_call(
            CallRef(acme.ref, UUID(call_id)), now=later_time, services=app_services()
        )
        for call_id in call_ids
    ]

    assert results == ["ended", "ended"]
    calls = [acme.get(f"/calls/{call_id}").json for call_id in call_ids]
    assert {(call["status"], call["end_reason"]) for call in calls} == {("completed", "abandoned")}
    assert len(acme.get("/calls", end_reason="abandoned").json) == 2
    ended_events = acme.get("/events", type="call.ended").json
    assert {event["data"]["end_reason"] for event in ended_events} == {"abandoned"}


# --- Retention ------------------------------------------------------------------------------------


@pytest.fixture
def simulated_id(acme: Tenant, script_model: Callable[..., SequenceModel]) -> str:
    """Return the id of an ended simulation of acme with turns, events and a message."""
    arguments = '{"name": "Jane", "number": "555", "reason": "A tooth hurts."}'
    script_model(["Noted. ", ToolCall("take_message", arguments)])
    acme.profile(tools=["take_message"])
    call_id: str = acme.simulate(acme.number()["did_number"])["call_id"]
    acme.say(call_id, "Note it.")
    _end(acme, call_id)
    _delete_jobs(acme, "calls.analyse")  # the model of this test has no answer to it
    return call_id


def test_a_simulated_call_is_deleted_after_thirty_days_with_all_that_it_contains(
    acme: Tenant, globex: Tenant, simulated_id: str
) -> None:
    live_id = acme.simulate(acme.number()["did_number"])["call_id"]
    globex.profile()
    foreign_id = globex.simulate(globex.number()["did_number"])["call_id"]
    _end(globex, foreign_id)
    [due] = _list_purge_times(acme)
    assert abs(due - clock.now() - timedelta(days=30)) < timedelta(minutes=1)

    early_count = retention.purge_simulations(
        acme.ref, now=clock.now() + timedelta(days=29), services=app_services()
    )
    assert early_count == 0
    assert len(acme.get(f"/calls/{simulated_id}/turns").json) == 3
    purged_count = retention.purge_simulations(
        acme.ref, now=clock.now() + timedelta(days=31), services=app_services()
    )

    assert purged_count == 1
    assert acme.get(f"/calls/{simulated_id}").status_code == 404
    assert [call["id"] for call in acme.get("/calls").json] == [live_id]
    assert acme.get("/messages", simulated="true").json == []
    with admin_db.tenant_session(acme.ref) as session:
        for table in ("turns", "call_events"):
            rows = session.execute(text(f"SELECT DISTINCT call_id::text FROM {table}"))
            assert [row[0] for row in rows] == [live_id]
    assert globex.get(f"/calls/{foreign_id}").status_code == 200


def test_a_real_call_is_not_deleted(
    acme: Tenant, carrier_client: CarrierClient, simulated_id: str
) -> None:
    number = acme.number()["did_number"]
    state = carrier_client.ring(number, "real-1")["state"]
    carrier_client.send_status("real-1", "completed", state=state)

    retention.purge_simulations(
        acme.ref, now=clock.now() + timedelta(days=400), services=app_services()
    )

    [call] = acme.get("/calls").json
    assert call["simulated"] is False


@pytest.mark.parametrize(
    ("retention_days", "days"),
    [
        ({"transcripts": 7}, 7),
        ({"payloads": 5, "transcripts": 9}, 5),
        ({"transcripts": 90}, 30),
        ({"recordings": 3}, 30),
    ],
)
def test_the_tenants_shorter_retention_applies_to_simulations(
    acme: Tenant, world: Factory, simulated_id: str, retention_days: dict[str, int], days: int
) -> None:
    acme.patch("/settings", {"retention_days": retention_days})
    world.run_jobs(acme)

    [due] = _list_purge_times(acme)
    assert abs(due - clock.now() - timedelta(days=days)) < timedelta(minutes=1)
    past_time = clock.now() + timedelta(days=days, minutes=-5)
    assert retention.purge_simulations(acme.ref, now=past_time, services=app_services()) == 0
    _delete_jobs(acme, "calls.forget_simulated")
    late_time = clock.now() + timedelta(days=days, minutes=5)
    assert retention.purge_simulations(acme.ref, now=late_time, services=app_services()) == 1
    assert _list_purge_times(acme) == []


def test_a_call_that_ends_at_once_is_deleted_too(acme: Tenant) -> None:
    acme.simulate(acme.number(mode="closed")["did_number"])

    assert len(_list_purge_times(acme)) == 1
    late_time = clock.now() + timedelta(days=31)
    assert retention.purge_simulations(acme.ref, now=late_time, services=app_services()) == 1


def test_simulations_from_before_are_deleted_when_the_next_one_ends(
    acme: Tenant, world: Factory
) -> None:
    number = acme.number(mode="closed")["did_number"]
    acme.simulate(number)
    _delete_jobs(acme, "calls.forget_simulated")  # the previous release had no such job
    world.sql(acme, "UPDATE calls SET ended_at = ended_at - interval '60 days'")

    acme.simulate(number)
    job_names = world.run_jobs(acme)

    assert "calls.forget_simulated" in job_names
    assert len(acme.get("/calls").json) == 1
