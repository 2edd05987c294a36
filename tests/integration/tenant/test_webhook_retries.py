"""Tests of failed webhook deliveries: retries, pauses and disabled endpoints."""

from datetime import datetime, timedelta
from socket import socket
from threading import Event as Signal
from threading import Thread
from uuid import UUID

from sqlalchemy import text

from tests.fakes.http_receiver import TIMEOUT_S, HttpReceiver
from tests.integration.tenant.webhook_deliveries import MAKE_DUE, list_deliveries, retry_now
from tests.support import admin_db
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from tests.support.webhooks import (
    emit_event,
    received_requests,
    register_webhook,
    reply_with_status,
)
from vca.kit import clock
from vca.registry.webhooks import delivery_worker, endpoints
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import tenant_scope

NEXT_JOB_TIME = (
    "SELECT min(scheduled_at) FROM jobs.procrastinate_jobs WHERE status = 'todo'"
    " AND task_name = 'webhooks.deliver' AND args->>'tenant_id' = :tenant_id"
)


# --- Retries ---


def test_a_failing_delivery_is_attempted_ten_times_under_the_same_id(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    world.run_jobs(acme)
    [delivery] = list_deliveries(acme, webhook)
    assert (delivery["status"], delivery["attempts"][0]["status"]) == ("pending", 500)
    assert delivery["attempts"][0]["response"] == "told"

    for _ in range(12):
        retry_now(world, acme)

    [delivery] = list_deliveries(acme, webhook)
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
    retry_now(world, acme)

    [delivery] = list_deliveries(acme, webhook, status="delivered")
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

    [delivery] = list_deliveries(acme, webhook)
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

    assert list_deliveries(acme, webhook)[0]["attempts"][0]["status"] == 302
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
    scope, client = tenant_scope.for_tenant(acme.ref), app_services().http_client
    emit_event(acme)
    sender = Thread(
        target=lambda: delivery_worker.deliver_due(
            scope, webhook_id=UUID(slow_webhook["id"]), client=client, services=app_services()
        )
    )
    sender.start()
    assert arrived.wait(TIMEOUT_S)

    for _ in range(3):
        emit_event(acme)
    world.run_jobs(acme)

    assert len(list_deliveries(acme, fast_webhook, status="delivered")) == 4
    assert len(endpoint.requests) == 1
    released.set()
    sender.join(TIMEOUT_S)
    assert list_deliveries(acme, slow_webhook, status="delivered")


def test_a_concurrent_run_does_not_postpone_the_next_attempt(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)

    def fail_during_another_run(connection: socket, stop: Signal) -> None:
        scope = tenant_scope.for_tenant(acme.ref)
        delivery_worker.deliver_due(
            scope,
            webhook_id=UUID(webhook["id"]),
            client=app_services().http_client,
            services=app_services(),
        )
        reply_with_status(500)(connection, stop)

    endpoint.behaviour = fail_during_another_run
    world.run_jobs(acme)

    [delivery] = list_deliveries(acme, webhook)
    with admin_db.public_session() as session:
        next_job_at = session.scalar(text(NEXT_JOB_TIME), {"tenant_id": acme.id})
    next_attempt_at = datetime.fromisoformat(delivery["next_attempt_at"])
    assert next_job_at - next_attempt_at < timedelta(seconds=5)
    assert len(delivery["attempts"]) == 1


def test_emitting_does_not_wait_for_a_lock_on_the_endpoint(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)

    with tenant_session(acme.ref, database=app_services().database) as locking_session:
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
    assert len(list_deliveries(acme, webhook, status="failed")) == 3
    assert len(list_deliveries(acme, webhook, status="pending")) == 1


# --- Disabled endpoints ---


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
    retry_now(world, acme)
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
    retry_now(world, acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] == "failing"
    [notification] = received_requests(other_endpoint)
    assert notification.event["data"]["reason"] == "failing"

    endpoint.behaviour = reply_with_status(200)
    acme.patch(f"/webhooks/{webhook['id']}", {"is_active": True})
    world.sql(acme, MAKE_DUE)
    world.run_jobs(acme, include_scheduled=True)

    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] is None
    assert list_deliveries(acme, webhook, status="delivered")
