"""Tests of webhook deliveries: retries, disabled endpoints, redelivery, secrets and retention."""

import os
from datetime import datetime, timedelta
from socket import socket
from threading import Event as Signal
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, text

from tests.fakes.http_receiver import TIMEOUT_S, HttpReceiver
from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from tests.support.webhooks import (
    emit_event,
    received_requests,
    received_types,
    receiver_url,
    register_webhook,
    reply_with_status,
)
from vca.kit import clock, encryption, http
from vca.kit.http import OutgoingClient, UrlPolicy
from vca.registry.webhooks import delivery_worker, endpoints
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import events, tenant_scope
from vca.tenant.webhooks.events import Event
from vca.tenant.webhooks.models import Webhook, WebhookEvent

MAKE_DUE = "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'"
NEXT_JOB_TIME = (
    "SELECT min(scheduled_at) FROM jobs.procrastinate_jobs WHERE status = 'todo'"
    " AND task_name = 'webhooks.deliver' AND args->>'tenant_id' = :tenant_id"
)
# After an update, the first row is the last one on the disk.
REWRITE_FIRST_ROW = (
    "UPDATE webhook_deliveries SET updated_at = now()"
    " WHERE CAST(payload->'data'->>'place' AS integer) = 0"
)
END_PAUSES = "UPDATE webhooks SET paused_until = NULL"


def _retry_now(world: Factory, tenant: Tenant) -> None:
    """Make the next attempt now instead of at its scheduled time."""
    world.sql(tenant, MAKE_DUE)
    world.sql(tenant, END_PAUSES)
    world.run_jobs(tenant, include_scheduled=True)


def _list_deliveries(tenant: Tenant, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    deliveries: list[dict[str, Any]] = tenant.get(
        f"/webhooks/{webhook['id']}/deliveries", **query
    ).json
    return deliveries


# --- Retries -------------------------------------------------------------------------------------


def test_a_failing_delivery_is_attempted_ten_times_under_the_same_id(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    world.run_jobs(acme)
    [delivery] = _list_deliveries(acme, webhook)
    assert (delivery["status"], delivery["attempts"][0]["status"]) == ("pending", 500)
    assert delivery["attempts"][0]["response"] == "told"

    for _ in range(12):
        _retry_now(world, acme)

    [delivery] = _list_deliveries(acme, webhook)
    assert (delivery["status"], len(delivery["attempts"])) == (
        "failed",
        delivery_worker.MAX_ATTEMPTS,
    )
    assert len({request.headers["webhook-id"] for request in received_requests(endpoint)}) == 1


def test_a_failed_delivery_is_sent_when_the_receiver_recovers(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    world.run_jobs(acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["failing_since"]

    endpoint.behaviour = reply_with_status(204)
    _retry_now(world, acme)

    [delivery] = _list_deliveries(acme, webhook, status="delivered")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 204]
    assert acme.get(f"/webhooks/{webhook['id']}").json["failing_since"] is None


def test_retry_after_sets_the_time_of_the_next_attempt(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(429, "Retry-After: 7200")
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    started_at = clock.now()

    world.run_jobs(acme)

    [delivery] = _list_deliveries(acme, webhook)
    assert delivery["next_attempt_at"] >= (started_at + timedelta(hours=2)).isoformat()


def test_a_failure_pauses_only_the_failing_endpoint(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(503)
    register_webhook(acme, endpoint)
    register_webhook(acme, other_endpoint)
    for _ in range(5):
        emit_event(acme)

    world.run_jobs(acme)

    assert len(endpoint.requests) == 1
    assert len(other_endpoint.requests) == 5


def test_a_redirect_is_a_failure_and_is_not_followed(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(
        302, f"Location: http://127.0.0.1:{other_endpoint.port}/"
    )
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)

    world.run_jobs(acme)

    assert _list_deliveries(acme, webhook)[0]["attempts"][0]["status"] == 302
    assert other_endpoint.is_unvisited()


def test_a_hanging_endpoint_does_not_delay_others(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    arrived, released = Signal(), Signal()

    def hang(connection: socket, stop: Signal) -> None:
        arrived.set()
        released.wait(TIMEOUT_S)
        reply_with_status(200)(connection, stop)

    endpoint.behaviour = hang
    slow_webhook, fast_webhook = (
        register_webhook(acme, endpoint),
        register_webhook(acme, other_endpoint),
    )
    scope, client = tenant_scope.for_tenant(acme.ref), http.current_client()
    emit_event(acme)
    sender = Thread(
        target=lambda: delivery_worker.deliver_due(
            scope, webhook_id=UUID(slow_webhook["id"]), client=client
        )
    )
    sender.start()
    assert arrived.wait(TIMEOUT_S)

    for _ in range(3):
        emit_event(acme)
    world.run_jobs(acme)

    assert len(_list_deliveries(acme, fast_webhook, status="delivered")) == 4
    assert len(endpoint.requests) == 1
    released.set()
    sender.join(TIMEOUT_S)
    assert _list_deliveries(acme, slow_webhook, status="delivered")


def test_a_concurrent_run_does_not_postpone_the_next_attempt(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)

    def fail_during_another_run(connection: socket, stop: Signal) -> None:
        scope = tenant_scope.for_tenant(acme.ref)
        delivery_worker.deliver_due(
            scope, webhook_id=UUID(webhook["id"]), client=http.current_client()
        )
        reply_with_status(500)(connection, stop)

    endpoint.behaviour = fail_during_another_run
    world.run_jobs(acme)

    [delivery] = _list_deliveries(acme, webhook)
    with admin_db.public_session() as session:
        next_job_at = session.scalar(text(NEXT_JOB_TIME), {"tenant_id": acme.id})
    next_attempt_at = datetime.fromisoformat(delivery["next_attempt_at"])
    assert next_job_at - next_attempt_at < timedelta(seconds=5)
    assert len(delivery["attempts"]) == 1


def test_emitting_does_not_wait_for_a_lock_on_the_endpoint(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)

    with tenant_session(acme.ref) as locking_session:
        webhook_id = UUID(webhook["id"])
        endpoints.get(
            locking_session,
            tenant_scope.for_tenant(acme.ref),
            webhook_id=webhook_id,
            for_update=True,
        )
        emit_event(acme)

    assert len(acme.get("/events").json) == 1


def test_a_busy_endpoint_is_skipped_by_other_jobs(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    register_webhook(acme, endpoint)
    world.sql(acme, "UPDATE webhooks SET busy_until = now() + interval '20 seconds'")
    emit_event(acme)

    world.run_jobs(acme)
    assert endpoint.requests == []

    world.sql(acme, "UPDATE webhooks SET busy_until = now() - interval '1 second'")
    world.run_jobs(acme, include_scheduled=True)
    assert len(endpoint.requests) == 1


def test_deliveries_to_a_failing_endpoint_fail_after_five_days(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    for _ in range(3):
        emit_event(acme)
    world.sql(
        acme,
        "UPDATE webhook_deliveries SET next_attempt_at = next_attempt_at - interval '5 days',"
        " expires_at = expires_at - interval '5 days'",
    )
    emit_event(acme)

    world.run_jobs(acme)

    assert len(endpoint.requests) == 1
    assert len(_list_deliveries(acme, webhook, status="failed")) == 3
    assert len(_list_deliveries(acme, webhook, status="pending")) == 1


# --- Disabled endpoints --------------------------------------------------------------------------


def test_status_410_disables_the_endpoint_and_notifies_the_others(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(410)
    webhook = register_webhook(acme, endpoint)
    register_webhook(acme, other_endpoint, events=["webhook.disabled"])
    emit_event(acme)

    world.run_jobs(acme)

    disabled = acme.get(f"/webhooks/{webhook['id']}").json
    assert (disabled["is_active"], disabled["disabled_reason"]) == (False, "gone")
    [notification] = received_requests(other_endpoint)
    assert notification.event["data"]["webhook_id"] == webhook["id"]
    emit_event(acme)
    _retry_now(world, acme)
    assert len(endpoint.requests) == 1


def test_five_days_of_failures_disable_an_endpoint_until_reactivation(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    register_webhook(acme, other_endpoint, events=["webhook.disabled"])
    emit_event(acme)
    world.run_jobs(acme)
    world.sql(acme, "UPDATE webhooks SET failing_since = now() - interval '5 days'")
    _retry_now(world, acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] == "failing"
    [notification] = received_requests(other_endpoint)
    assert notification.event["data"]["reason"] == "failing"

    endpoint.behaviour = reply_with_status(200)
    acme.patch(f"/webhooks/{webhook['id']}", {"is_active": True})
    world.sql(acme, MAKE_DUE)
    world.run_jobs(acme, include_scheduled=True)

    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] is None
    assert _list_deliveries(acme, webhook, status="delivered")


# --- Redelivery and test events ------------------------------------------------------------------


def test_a_delivery_or_a_time_range_is_redelivered_under_the_same_ids(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    for _ in range(3):
        emit_event(acme)
    world.run_jobs(acme)
    delivery = _list_deliveries(acme, webhook)[0]

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
    delivery = _list_deliveries(acme, webhook)[0]

    response = acme.post(f"/webhooks/{other_webhook['id']}/deliveries/{delivery['id']}/replay")

    assert response.status_code == 404


def test_redelivered_events_arrive_in_their_original_order(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    with tenant_session(acme.ref) as session:
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


# --- Secrets and URLs ----------------------------------------------------------------------------


def test_a_secret_is_returned_once_and_stored_encrypted(
    acme: Tenant, globex: Tenant, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)

    assert webhook["secret"].startswith("whsec_")
    assert "secret" not in acme.get(f"/webhooks/{webhook['id']}").json
    with tenant_session(acme.ref) as session:
        encrypted = bytes(session.scalars(select(Webhook.secret)).one())
    assert webhook["secret"].encode() not in encrypted
    context = encryption.EncryptionContext(UUID(acme.id), "webhooks", UUID(webhook["id"]), "secret")
    assert encryption.current_keyring().decrypt(encrypted, context) == webhook["secret"]
    other_context = encryption.EncryptionContext(
        UUID(globex.id), "webhooks", UUID(webhook["id"]), "secret"
    )
    with pytest.raises(encryption.DecryptionError):
        encryption.current_keyring().decrypt(encrypted, other_context)


def test_the_previous_secret_signs_for_one_day_after_a_rotation(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    rotated = acme.post(f"/webhooks/{webhook['id']}/rotate-secret").json
    emit_event(acme)
    world.run_jobs(acme)
    world.sql(acme, "UPDATE webhooks SET previous_secret_until = now()")
    emit_event(acme)
    world.run_jobs(acme)

    signed_twice, signed_once = received_requests(endpoint)
    assert signed_twice.is_signed_with(webhook["secret"])
    assert signed_twice.is_signed_with(rotated["secret"])
    assert signed_once.is_signed_with(rotated["secret"])
    assert not signed_once.is_signed_with(webhook["secret"])


def test_only_the_two_newest_secrets_sign(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    first = register_webhook(acme, endpoint)
    url = f"/webhooks/{first['id']}/rotate-secret"
    second, third = acme.post(url).json, acme.post(url).json
    emit_event(acme)

    world.run_jobs(acme)

    [request] = received_requests(endpoint)
    valid_signatures = [
        request.is_signed_with(webhook["secret"]) for webhook in (first, second, third)
    ]
    assert valid_signatures == [False, True, True]
    assert len(request.headers["webhook-signature"].split()) == 2


def test_an_undecryptable_secret_stops_deliveries_until_a_rotation(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = register_webhook(acme, endpoint)
    monkeypatch.setattr(encryption, "_keyring", encryption.Keyring([os.urandom(32)]))
    emit_event(acme)
    world.run_jobs(acme)
    assert endpoint.requests == []

    rotated = acme.post(f"/webhooks/{webhook['id']}/rotate-secret").json
    world.run_jobs(acme)

    [request] = received_requests(endpoint)
    assert request.is_signed_with(rotated["secret"])
    assert rotated["previous_secret_until"] is None


def test_a_new_url_is_validated_and_receives_pending_deliveries(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    world.run_jobs(acme)
    url = f"/webhooks/{webhook['id']}"

    rejected = acme.patch(url, {"url": "https://10.0.0.1/"})
    accepted = acme.patch(url, {"url": receiver_url(other_endpoint)})
    world.sql(acme, MAKE_DUE)
    world.run_jobs(acme, include_scheduled=True)

    assert (rejected.status_code, rejected.json["errors"][0]["pointer"]) == (400, "/url")
    assert accepted.json["failing_since"] is None
    assert received_types(other_endpoint) == ["message.taken"]


def test_a_deleted_webhook_has_and_receives_no_deliveries(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)

    assert acme.delete(f"/webhooks/{webhook['id']}").status_code == 204
    world.run_jobs(acme)

    assert endpoint.requests == []
    assert acme.get(f"/webhooks/{webhook['id']}/deliveries").status_code == 404


def test_a_tenant_can_have_at_most_twenty_webhooks(acme: Tenant, endpoint: HttpReceiver) -> None:
    for _ in range(endpoints.MAX_WEBHOOKS):
        register_webhook(acme, endpoint)

    response = acme.post("/webhooks", {"url": receiver_url(endpoint)})

    assert (response.status_code, response.json["code"]) == (409, "too-many-webhooks")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "https://localhost/", "https://10.0.0.1/", "ftp://example.com/"]
)
def test_a_url_without_a_public_address_is_rejected(app: Flask, acme: Tenant, url: str) -> None:
    response = acme.post("/webhooks", {"url": url})

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == "/url"


def test_a_url_is_validated_again_for_each_delivery(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    http.set_current_client(OutgoingClient(UrlPolicy(allow_http=True)))
    emit_event(acme)

    world.run_jobs(acme)

    assert "public" in _list_deliveries(acme, webhook)[0]["attempts"][0]["error"]
    assert endpoint.is_unvisited()


# --- Retention -----------------------------------------------------------------------------------


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

    assert len(_list_deliveries(acme, webhook)) == 1
    with tenant_session(acme.ref) as session:
        assert len(session.scalars(select(WebhookEvent)).all()) == 1
