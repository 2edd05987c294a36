"""Tests of webhook events: which events are emitted, their size limit, and the event list."""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.fakes.http_receiver import HttpReceiver
from tests.support import admin_db
from tests.support.factories import Factory, Platform, Tenant
from tests.support.populated_tenant import cursor_of
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services, open_database, use_database
from tests.support.webhooks import emit_event, received_requests, received_types, register_webhook
from vca.kit import clock
from vca.registry.webhooks import deliveries, payloads
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.messages import service as messages
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event


def test_a_call_emits_events_with_its_ids_and_without_numbers(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    profile, number = acme.profile(), acme.number()
    call = acme.simulate(number["did_number"], **{"from": "+14155550123"})
    acme.post(f"/calls/{call['call_id']}/hangup")

    world.run_jobs(acme)

    requests = {request.event["type"]: request for request in received_requests(endpoint)}
    assert set(requests) >= {
        "call.started",
        "call.answered",
        "call.ended",
        "phone_number.registered",
    }
    ended = requests["call.ended"]
    assert ended.event["data"] | {"started_at": "", "answered_at": "", "ended_at": ""} == {
        "tenant_id": acme.id,
        "simulated": True,
        "call_id": call["call_id"],
        "direction": "inbound",
        "status": "completed",
        "phone_number_id": number["id"],
        "ai_profile_id": profile["id"],
        "started_at": "",
        "answered_at": "",
        "ended_at": "",
        "end_reason": "api_hangup",
        "duration_seconds": 0,
    }
    assert all(request.is_signed_with(webhook["secret"]) for request in requests.values())
    assert ended.headers["content-type"] == "application/json"
    assert not any(b"4155550123" in request.body for request in requests.values())


def test_an_endpoint_receives_only_its_subscribed_events(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint, events=["call.ended"])
    register_webhook(acme, other_endpoint, is_active=False)
    emit_event(acme, "call.started")
    emit_event(acme, "call.ended")

    world.run_jobs(acme)

    assert received_types(endpoint) == ["call.ended"]
    assert received_types(other_endpoint) == []
    assert [event["type"] for event in acme.get("/events").json] == ["call.started", "call.ended"]


def test_a_rolled_back_event_is_not_sent(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    with tenant_session(acme.ref, database=app_services().database) as session:
        events.emit(session, Event("message.taken", {}))
        session.rollback()

    world.run_jobs(acme)

    assert received_types(endpoint) == []
    assert acme.get("/events").json == []


def test_an_event_emitted_twice_with_one_id_is_sent_once(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    event = Event("tenant.suspended", {})
    for _ in range(2):
        with tenant_session(acme.ref, database=app_services().database) as session:
            events.emit(session, event)

    world.run_jobs(acme)

    assert [request.headers["webhook-id"] for request in received_requests(endpoint)] == [
        f"evt_{event.id.hex}"
    ]


def test_a_change_of_the_tenants_status_emits_an_event(
    acme: Tenant, world: Factory, platform: Platform, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    for status in ("suspended", "suspended", "active", "deleted"):
        assert platform.api.patch(acme.url(), {"status": status}).status_code == 200

    world.run_jobs(acme)

    assert received_types(endpoint) == ["tenant.suspended", "tenant.activated", "tenant.deleted"]


def test_the_event_list_is_paged_and_filtered(acme: Tenant, world: Factory) -> None:
    for place in range(5):
        emit_event(acme, "call.started" if place % 2 else "message.taken", place=place)

    listed_places: list[int] = []
    query: dict[str, str] = {}
    while True:
        response = acme.get("/events", limit=2, **query)
        listed_places += [event["data"]["place"] for event in response.json]
        if "Link" not in response.headers:
            break
        query = {"cursor": cursor_of(response)}

    assert listed_places == [0, 1, 2, 3, 4]
    last_event = acme.get("/events").json[-1]
    emit_event(acme, place=5)
    newer_events = acme.get("/events", created_after=last_event["created_at"]).json
    assert [event["data"]["place"] for event in newer_events] == [5]
    assert len(acme.get("/events", type="call.started").json) == 2
    assert acme.get("/events", simulated="true").json == []


def test_a_delivery_has_the_id_data_and_time_of_the_listed_event(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    emit_event(acme, call_id="x")
    world.run_jobs(acme)

    [event] = acme.get("/events").json
    [request] = received_requests(endpoint)

    assert request.headers["webhook-id"] == f"evt_{UUID(event['id']).hex}"
    assert request.event["data"] == event["data"]
    assert request.event["timestamp"] == event["created_at"]


def test_events_of_another_tenant_are_neither_listed_nor_sent(
    acme: Tenant, globex: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    emit_event(globex)

    world.run_jobs(globex)
    world.run_jobs(acme)

    assert acme.get("/events").json == []
    assert endpoint.requests == []


def test_events_of_a_call_with_long_texts_are_small(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    long_text = "x" * 4_000
    acme.profile(system_prompt=long_text, greeting=long_text[:1_000])
    call_id = acme.simulate(acme.number(label=long_text[:60])["did_number"])["call_id"]
    acme.say(call_id, long_text[:2_000])
    with tenant_session(acme.ref, database=app_services().database) as session:
        messages.create(
            session,
            call_id=UUID(call_id),
            kind="message",
            caller_number=None,
            callback_number="+14155550123",
            name=long_text[:200],
            reason=long_text[:1_000],
            services=app_services(),
        )
    acme.post(f"/calls/{call_id}/hangup")

    world.run_jobs(acme)

    assert {"call.ended", "message.taken"} <= set(received_types(endpoint))
    assert max(len(request.body) for request in received_requests(endpoint)) < 2_000


def test_on_citus_no_statement_on_a_tenant_table_enqueues_a_job(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_webhook(acme, endpoint)
    acme.profile()
    number = acme.number()["did_number"]
    database = use_database(open_database(app_services().database.dsn, on_citus=True))
    with record_sent_sql(monkeypatch) as round_trips:
        call_id = acme.simulate(number)["call_id"]
        acme.post(f"/calls/{call_id}/hangup")
    database.close()
    world.run_jobs(acme)

    statements = [statement for round_trip in round_trips for statement in round_trip]
    assert [statement for statement in statements if "jobs.enqueue" in statement]
    tables = re.compile(r"\b(INTO|UPDATE|FROM) (events|calls|webhook\w+)\b")
    assert not [
        statement
        for statement in statements
        if tables.search(statement) and "jobs.enqueue" in statement
    ]
    call_types = [name for name in received_types(endpoint) if name.startswith("call.")]
    assert call_types[:3] == ["call.started", "call.answered", "call.ended"]
    assert "webhooks.forget" in _waiting_jobs(acme)


def test_call_events_are_inserted_in_the_round_trip_that_stores_the_call(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round trip to the database would delay the answer to an inbound call."""
    acme.profile()
    number = acme.number()["did_number"]
    with record_sent_sql(monkeypatch) as round_trips:
        call_id = acme.simulate(number)["call_id"]
        acme.post(f"/calls/{call_id}/hangup")

    event_strings = [sql for sql in map("".join, round_trips) if "INSERT INTO events" in sql]
    assert ["INSERT INTO calls" in sql for sql in event_strings] == [True, False]
    assert ["UPDATE calls" in sql for sql in event_strings] == [False, True]


def _waiting_jobs(tenant: Tenant) -> list[str]:
    """Return the names of the tenant's waiting jobs."""
    query = text(
        "SELECT task_name FROM jobs.procrastinate_jobs"
        " WHERE status = 'todo' AND args->>'tenant_id' = :tenant_id"
    )
    with admin_db.public_session() as session:
        return list(session.scalars(query, {"tenant_id": tenant.id}))


# --- Size limit ---------------------------------------------------------------------------------


def _notify_platform(data: dict[str, Any]) -> None:
    with public_session(database=app_services().database) as session:
        deliveries.add_delivery(
            session,
            PLATFORM_SCOPE,
            webhook_id=uuid4(),
            event_id=uuid4(),
            type="call.ended",
            data=data,
            now=clock.now(),
        )


@pytest.mark.parametrize("create_event", [lambda data: Event("call.ended", data), _notify_platform])
def test_an_event_over_the_size_limit_raises_an_error(
    acme: Tenant, create_event: Callable[[dict[str, Any]], object]
) -> None:
    for summary in ("x" * payloads.MAX_EVENT_BYTES, "☎" * (payloads.MAX_EVENT_BYTES // 3)):
        with pytest.raises(ValueError, match="would be sent in"):
            create_event({"summary": summary})


def test_the_largest_event_is_sent_in_at_most_20_000_bytes(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    text_length = payloads.MAX_EVENT_BYTES - payloads._ENVELOPE_BYTES - len('{"word":""}')
    with tenant_session(acme.ref, database=app_services().database) as session:
        event = Event("call.transfer_completed", {"word": "x" * text_length}, simulated=True)
        events.emit(session, event)

    world.run_jobs(acme)

    [request] = received_requests(endpoint)
    assert (
        payloads.MAX_EVENT_BYTES - payloads._ENVELOPE_BYTES
        < len(request.body)
        <= payloads.MAX_EVENT_BYTES
    )
