"""What happens is told in the transaction in which it happens, and is there to catch up from."""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import event, text

from tests.fakes.http_receiver import HttpReceiver
from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from tests.support.populated_tenant import cursor_of
from tests.support.webhooks import emit_event, received_requests, received_types, register_webhook
from vca.kit import clock, db
from vca.registry.webhooks import deliveries, payloads
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.tenancy import citus
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.messages import service as messages
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event


def test_a_call_is_told_from_ring_to_end_with_its_ids_and_no_number(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    profile, number = acme.profile(), acme.number()
    call = acme.simulate(number["did_number"], **{"from": "+14155550123"})
    acme.post(f"/calls/{call['call_id']}/hangup")

    world.run_jobs(acme)

    sent = {each.event["type"]: each for each in received_requests(endpoint)}
    assert set(sent) >= {"call.started", "call.answered", "call.ended", "phone_number.registered"}
    ended = sent["call.ended"]
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
    assert all(each.is_signed_with(webhook["secret"]) for each in sent.values())
    assert ended.headers["content-type"] == "application/json"
    assert not any(b"4155550123" in each.body for each in sent.values())


def test_only_what_an_endpoint_wants_is_sent_to_it(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint, events=["call.ended"])
    register_webhook(acme, other_endpoint, is_active=False)
    emit_event(acme, "call.started")
    emit_event(acme, "call.ended")

    world.run_jobs(acme)

    assert received_types(endpoint) == ["call.ended"]
    assert received_types(other_endpoint) == []
    assert [each["type"] for each in acme.get("/events").json] == ["call.started", "call.ended"]


def test_what_did_not_happen_is_not_told(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    with tenant_session(acme.ref) as session:
        events.emit(session, Event("message.taken", {}))
        session.rollback()

    world.run_jobs(acme)

    assert received_types(endpoint) == []
    assert acme.get("/events").json == []


def test_an_event_that_is_told_twice_under_one_id_is_sent_once(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    event = Event("tenant.suspended", {})
    for _ in range(2):
        with tenant_session(acme.ref) as session:
            events.emit(session, event)

    world.run_jobs(acme)

    assert [each.headers["webhook-id"] for each in received_requests(endpoint)] == [
        f"evt_{event.id.hex}"
    ]


def test_a_change_of_the_tenants_status_is_told(
    acme: Tenant, world: Factory, platform: Any, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    for wanted in ("suspended", "suspended", "active", "deleted"):
        assert platform.api.patch(acme.url(), {"status": wanted}).status_code == 200

    world.run_jobs(acme)

    assert received_types(endpoint) == ["tenant.suspended", "tenant.activated", "tenant.deleted"]


def test_one_catches_up_page_by_page_from_the_last_that_one_has(
    acme: Tenant, world: Factory
) -> None:
    for place in range(5):
        emit_event(acme, "call.started" if place % 2 else "message.taken", place=place)

    seen, query = [], {}
    while True:
        answer = acme.get("/events", limit=2, **query)
        seen += [each["data"]["place"] for each in answer.json]
        if "Link" not in answer.headers:
            break
        query = {"cursor": cursor_of(answer)}

    assert seen == [0, 1, 2, 3, 4]
    last = acme.get("/events").json[-1]
    emit_event(acme, place=5)
    newer = acme.get("/events", created_after=last["created_at"]).json
    assert [each["data"]["place"] for each in newer] == [5]
    assert len(acme.get("/events", type="call.started").json) == 2
    assert acme.get("/events", simulated="true").json == []


def test_a_delivery_is_the_event_in_the_list(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    emit_event(acme, call_id="x")
    world.run_jobs(acme)

    [event] = acme.get("/events").json
    [sent] = received_requests(endpoint)

    assert sent.headers["webhook-id"] == f"evt_{UUID(event['id']).hex}"
    assert sent.event["data"] == event["data"]
    assert sent.event["timestamp"] == event["created_at"]


def test_events_of_another_tenant_are_neither_listed_nor_sent(
    acme: Tenant, globex: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    emit_event(globex)

    world.run_jobs(globex)
    world.run_jobs(acme)

    assert acme.get("/events").json == []
    assert endpoint.requests == []


def test_whatever_a_call_can_tell_is_thin(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    long = "x" * 4_000
    acme.profile(system_prompt=long, greeting=long[:1_000])
    call = acme.simulate(acme.number(label=long[:60])["did_number"])["call_id"]
    acme.say(call, long[:2_000])
    with tenant_session(acme.ref) as session:
        messages.create(
            session,
            call_id=UUID(call),
            kind="message",
            caller_number=None,
            callback_number="+14155550123",
            name=long[:200],
            reason=long[:1_000],
        )
    acme.post(f"/calls/{call}/hangup")

    world.run_jobs(acme)

    assert {"call.ended", "message.taken"} <= set(received_types(endpoint))
    assert max(len(each.body) for each in received_requests(endpoint)) < 2_000


def test_on_a_cluster_no_statement_on_a_tables_node_calls_a_function_of_ours(
    app: Flask, acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    acme.profile()
    number = acme.number()["did_number"]
    sent: list[str] = []
    engine = db.current_database().engine

    def note(_c: Any, _cur: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    citus.set_enabled(True)
    try:
        call = acme.simulate(number)["call_id"]
        acme.post(f"/calls/{call}/hangup")
    finally:
        citus.set_enabled(False)
        event.remove(engine, "before_cursor_execute", note)
    world.run_jobs(acme)

    tables = re.compile(r"\b(INTO|UPDATE|FROM) (events|calls|webhook\w+)\b")
    assert not [each for each in sent if tables.search(each) and "jobs.enqueue" in each]
    calls = [each for each in received_types(endpoint) if each.startswith("call.")]
    assert calls[:3] == ["call.started", "call.answered", "call.ended"]
    assert "webhooks.forget" in _ordered(acme)


def test_a_call_is_told_in_the_statement_that_records_it(app: Flask, acme: Tenant) -> None:
    """A ring waits for each round trip."""
    acme.profile()
    number = acme.number()["did_number"]
    sent: list[str] = []
    engine = db.current_database().engine

    def note(_c: Any, _cur: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    call = acme.simulate(number)["call_id"]
    acme.post(f"/calls/{call}/hangup")
    event.remove(engine, "before_cursor_execute", note)

    telling = [each for each in sent if "INSERT INTO events" in each]
    assert ["INSERT INTO calls" in each for each in telling] == [True, False]
    assert ["UPDATE calls" in each for each in telling] == [False, True]


def _ordered(tenant: Tenant) -> list[str]:
    """The tenant's waiting jobs."""
    waiting = text(
        "SELECT task_name FROM jobs.procrastinate_jobs"
        " WHERE status = 'todo' AND args->>'tenant_id' = :tenant_id"
    )
    with admin_db.public_session() as session:
        return list(session.scalars(waiting, {"tenant_id": tenant.id}))


# --- How large ----------------------------------------------------------------------------------


def _tell_operators(data: dict[str, Any]) -> None:
    with public_session() as session:
        told = {"webhook_id": uuid4(), "event_id": uuid4(), "type": "call.ended"}
        deliveries.add_delivery(session, PLATFORM_SCOPE, **told, data=data, now=clock.now())


@pytest.mark.parametrize("say", [lambda data: Event("call.ended", data), _tell_operators])
def test_what_is_too_large_to_be_told_is_no_event(
    acme: Tenant, say: Callable[[dict[str, Any]], object]
) -> None:
    for word in ("x" * payloads.MAX_EVENT_BYTES, "☎" * (payloads.MAX_EVENT_BYTES // 3)):
        with pytest.raises(ValueError, match="would be sent in"):
            say({"summary": word})


def test_the_largest_event_is_sent_in_20_000_bytes(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    largest = payloads.MAX_EVENT_BYTES - payloads._ENVELOPE_BYTES - len('{"word":""}')
    with tenant_session(acme.ref) as session:
        event = Event("call.transfer_completed", {"word": "x" * largest}, simulated=True)
        events.emit(session, event)

    world.run_jobs(acme)

    [sent] = received_requests(endpoint)
    assert (
        payloads.MAX_EVENT_BYTES - payloads._ENVELOPE_BYTES
        < len(sent.body)
        <= payloads.MAX_EVENT_BYTES
    )
