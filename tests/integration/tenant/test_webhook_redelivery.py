"""Tests of redelivered webhook events, test events and the retention of deliveries."""

import pytest
from sqlalchemy import select

from tests.fakes.http_receiver import HttpReceiver
from tests.integration.tenant.webhook_deliveries import list_deliveries
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from tests.support.webhooks import emit_event, received_requests, received_types, register_webhook
from vca.registry.webhooks import delivery_worker
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event
from vca.tenant.webhooks.models import WebhookEvent

# After an update, the first row is the last one on the disk.
REWRITE_FIRST_ROW = (
    "UPDATE webhook_deliveries SET updated_at = now()"
    " WHERE CAST(payload->'data'->>'place' AS integer) = 0"
)


def test_a_delivery_or_a_time_range_is_redelivered_under_the_same_ids(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    for _ in range(3):
        emit_event(acme)
    world.run_jobs(acme)
    delivery = list_deliveries(acme, webhook)[0]

    url = f"/webhooks/{webhook['id']}"
    assert acme.post(f"{url}/deliveries/{delivery['id']}/replay").status_code == 202
    world.run_jobs(acme)
    assert [request.event for request in received_requests(endpoint)].count(
        delivery["payload"]
    ) == 2

    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    response = acme.post(f"{url}/replay", {**period, "status": "delivered"})
    assert (response.status_code, response.json) == (202, {"deliveries": 3})
    world.run_jobs(acme)
    assert len(endpoint.requests) == 7
    assert len({request.headers["webhook-id"] for request in received_requests(endpoint)}) == 3
    reversed_period = acme.post(
        f"{url}/replay", {"since": period["until"], "until": period["since"]}
    )
    assert (reversed_period.status_code, reversed_period.json["errors"][0]["pointer"]) == (
        400,
        "/until",
    )


def test_a_delivery_can_be_redelivered_only_by_its_webhook(
    acme: Tenant, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    webhook, other_webhook = (
        register_webhook(acme, endpoint),
        register_webhook(acme, other_endpoint),
    )
    emit_event(acme)
    delivery = list_deliveries(acme, webhook)[0]

    response = acme.post(f"/webhooks/{other_webhook['id']}/deliveries/{delivery['id']}/replay")

    assert response.status_code == 404


def test_redelivered_events_arrive_in_their_original_order(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    with tenant_session(acme.ref, database=app_services().database) as session:
        events.emit(session, *(Event("call.started", {"place": place}) for place in range(5)))
    world.run_jobs(acme)

    world.sql(acme, REWRITE_FIRST_ROW)

    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    acme.post(f"/webhooks/{webhook['id']}/replay", period)
    world.run_jobs(acme)

    assert [request.event["data"]["place"] for request in received_requests(endpoint)] == [
        0,
        1,
        2,
        3,
        4,
    ] * 2
    assert list(received_requests(endpoint)[0].event) == ["type", "timestamp", "data"]
    listed_events = acme.get("/events").json
    assert [event["data"]["place"] for event in listed_events] == [0, 1, 2, 3, 4]


def test_a_test_event_is_sent_only_to_its_endpoint(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    register_webhook(acme, other_endpoint)

    response = acme.post(f"/webhooks/{webhook['id']}/test")
    world.run_jobs(acme)

    assert response.status_code == 202
    assert (received_types(endpoint), received_types(other_endpoint)) == (["webhook.test"], [])
    assert acme.get("/events").json == []


def test_an_inactive_webhook_cannot_be_tested(acme: Tenant, endpoint: HttpReceiver) -> None:
    webhook = register_webhook(acme, endpoint, is_active=False)

    assert acme.post(f"/webhooks/{webhook['id']}/test").json["code"] == "webhook-disabled"


def test_events_and_deliveries_are_deleted_after_thirty_days(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    for age in ("31 days", "29 days"):
        emit_event(acme, reason=age)
    world.run_jobs(acme)
    for table in ("events", "webhook_deliveries"):
        condition = f"{'data' if table == 'events' else 'payload'}::text LIKE '%31 days%'"
        world.sql(
            acme, f"UPDATE {table} SET created_at = now() - interval '31 days' WHERE {condition}"
        )
    world.make_due(acme, "webhooks.forget")

    world.run_jobs(acme)

    assert len(list_deliveries(acme, webhook)) == 1
    with tenant_session(acme.ref, database=app_services().database) as session:
        assert len(session.scalars(select(WebhookEvent)).all()) == 1


def test_the_last_attempts_of_a_delivery_are_kept(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_worker, "MAX_STORED_ATTEMPTS", 3)
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    delivery = list_deliveries(acme, webhook)[0]
    world.run_jobs(acme)

    for _ in range(4):
        acme.post(f"/webhooks/{webhook['id']}/deliveries/{delivery['id']}/replay")
        world.run_jobs(acme)

    assert len(endpoint.requests) == 5
    [delivery] = list_deliveries(acme, webhook)
    times = [attempt["at"] for attempt in delivery["attempts"]]
    assert len(times) == 3
    assert times == sorted(times)
    assert times[-1] >= delivery["created_at"]
