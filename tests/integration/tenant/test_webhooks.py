"""Webhooks: what happens is told to those who want it, signed, again and not for ever."""

import os
from datetime import datetime, timedelta
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

DUE = "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'"
SOONEST = (
    "SELECT min(scheduled_at) FROM jobs.procrastinate_jobs WHERE status = 'todo'"
    " AND task_name = 'webhooks.deliver' AND args->>'tenant_id' = :tenant_id"
)
# The first row is the last on the disk.
MOVED = (
    "UPDATE webhook_deliveries SET updated_at = now()"
    " WHERE CAST(payload->'data'->>'place' AS integer) = 0"
)
READY = "UPDATE webhooks SET paused_until = NULL"


def _again(world: Factory, tenant: Tenant) -> None:
    """The next try, whenever it would have been."""
    world.sql(tenant, DUE)
    world.sql(tenant, READY)
    world.run_jobs(tenant, include_scheduled=True)


def _deliveries(tenant: Tenant, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.get(f"/webhooks/{webhook['id']}/deliveries", **query).json
    return found


# --- Trying again --------------------------------------------------------------------------------


def test_a_delivery_that_fails_is_tried_ten_times_under_the_same_id_and_given_up(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    world.run_jobs(acme)
    [delivery] = _deliveries(acme, webhook)
    assert (delivery["status"], delivery["attempts"][0]["status"]) == ("pending", 500)
    assert delivery["attempts"][0]["response"] == "told"

    for _ in range(12):
        _again(world, acme)

    [delivery] = _deliveries(acme, webhook)
    assert (delivery["status"], len(delivery["attempts"])) == (
        "failed",
        delivery_worker.MAX_ATTEMPTS,
    )
    assert len({each.headers["webhook-id"] for each in received_requests(endpoint)}) == 1


def test_what_failed_is_sent_once_its_receiver_is_well(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    world.run_jobs(acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["failing_since"]

    endpoint.behaviour = reply_with_status(204)
    _again(world, acme)

    [delivery] = _deliveries(acme, webhook, status="delivered")
    assert [each["status"] for each in delivery["attempts"]] == [500, 204]
    assert acme.get(f"/webhooks/{webhook['id']}").json["failing_since"] is None


def test_a_receiver_says_when_to_come_again(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(429, "Retry-After: 7200")
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    asked_at = clock.now()

    world.run_jobs(acme)

    [delivery] = _deliveries(acme, webhook)
    assert delivery["next_attempt_at"] >= (asked_at + timedelta(hours=2)).isoformat()


def test_after_a_failure_the_endpoint_is_left_alone_and_others_are_not(
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


def test_a_redirect_is_a_failure_that_nobody_follows(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(
        302, f"Location: http://127.0.0.1:{other_endpoint.port}/"
    )
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)

    world.run_jobs(acme)

    assert _deliveries(acme, webhook)[0]["attempts"][0]["status"] == 302
    assert other_endpoint.is_unvisited()


def test_one_that_hangs_holds_up_nobody_else(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    arrived, let_go = Signal(), Signal()

    def hang(line: Any, stop: Any) -> None:
        arrived.set()
        let_go.wait(TIMEOUT_S)
        reply_with_status(200)(line, stop)

    endpoint.behaviour = hang
    slow, quick = register_webhook(acme, endpoint), register_webhook(acme, other_endpoint)
    box, client = tenant_scope.for_tenant(acme.ref), http.current_client()
    emit_event(acme)
    sending = Thread(
        target=lambda: delivery_worker.deliver_due(box, webhook_id=UUID(slow["id"]), client=client)
    )
    sending.start()
    assert arrived.wait(TIMEOUT_S)

    for _ in range(3):
        emit_event(acme)
    world.run_jobs(acme)

    assert len(_deliveries(acme, quick, status="delivered")) == 4
    assert len(endpoint.requests) == 1
    let_go.set()
    sending.join(TIMEOUT_S)
    assert _deliveries(acme, slow, status="delivered")


def test_who_came_while_it_was_busy_does_not_put_the_next_try_off(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)

    def fail_while_another_comes(line: Any, stop: Any) -> None:
        box = tenant_scope.for_tenant(acme.ref)
        delivery_worker.deliver_due(
            box, webhook_id=UUID(webhook["id"]), client=http.current_client()
        )
        reply_with_status(500)(line, stop)

    endpoint.behaviour = fail_while_another_comes
    world.run_jobs(acme)

    [delivery] = _deliveries(acme, webhook)
    with admin_db.public_session() as session:
        soonest = session.scalar(text(SOONEST), {"tenant_id": acme.id})
    wanted = datetime.fromisoformat(delivery["next_attempt_at"])
    assert soonest - wanted < timedelta(seconds=5)
    assert len(delivery["attempts"]) == 1


def test_telling_does_not_wait_for_who_holds_the_endpoint(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)

    with tenant_session(acme.ref) as holding:
        wanted = UUID(webhook["id"])
        endpoints.get(
            holding, tenant_scope.for_tenant(acme.ref), webhook_id=wanted, for_update=True
        )
        emit_event(acme)

    assert len(acme.get("/events").json) == 1


def test_an_endpoint_that_is_being_sent_to_is_not_sent_to_by_another_job(
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


def test_what_has_waited_five_days_for_an_endpoint_that_is_down_is_given_up(
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
    assert len(_deliveries(acme, webhook, status="failed")) == 3
    assert len(_deliveries(acme, webhook, status="pending")) == 1


# --- Giving up an endpoint -----------------------------------------------------------------------


def test_an_endpoint_that_is_gone_is_disabled_and_the_others_are_told(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(410)
    webhook = register_webhook(acme, endpoint)
    register_webhook(acme, other_endpoint, events=["webhook.disabled"])
    emit_event(acme)

    world.run_jobs(acme)

    shown = acme.get(f"/webhooks/{webhook['id']}").json
    assert (shown["is_active"], shown["disabled_reason"]) == (False, "gone")
    [notice] = received_requests(other_endpoint)
    assert notice.event["data"]["webhook_id"] == webhook["id"]
    emit_event(acme)
    _again(world, acme)
    assert len(endpoint.requests) == 1


def test_one_with_nothing_but_failures_for_five_days_is_disabled_and_may_be_used_again(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    register_webhook(acme, other_endpoint, events=["webhook.disabled"])
    emit_event(acme)
    world.run_jobs(acme)
    world.sql(acme, "UPDATE webhooks SET failing_since = now() - interval '5 days'")
    _again(world, acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] == "failing"
    [notice] = received_requests(other_endpoint)
    assert notice.event["data"]["reason"] == "failing"

    endpoint.behaviour = reply_with_status(200)
    acme.patch(f"/webhooks/{webhook['id']}", {"is_active": True})
    world.sql(acme, DUE)
    world.run_jobs(acme, include_scheduled=True)

    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] is None
    assert _deliveries(acme, webhook, status="delivered")


# --- Again, and a test ---------------------------------------------------------------------------


def test_a_delivery_and_a_range_of_them_are_sent_again_under_their_ids(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    for _ in range(3):
        emit_event(acme)
    world.run_jobs(acme)
    one = _deliveries(acme, webhook)[0]

    url = f"/webhooks/{webhook['id']}"
    assert acme.post(f"{url}/deliveries/{one['id']}/replay").status_code == 202
    world.run_jobs(acme)
    assert [each.event for each in received_requests(endpoint)].count(one["payload"]) == 2

    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    again = acme.post(f"{url}/replay", {**period, "status": "delivered"})
    assert (again.status_code, again.json) == (202, {"deliveries": 3})
    world.run_jobs(acme)
    assert len(endpoint.requests) == 7
    assert len({each.headers["webhook-id"] for each in received_requests(endpoint)}) == 3
    turned = acme.post(f"{url}/replay", {"since": period["until"], "until": period["since"]})
    assert (turned.status_code, turned.json["errors"][0]["pointer"]) == (400, "/until")


def test_a_delivery_is_sent_again_by_its_own_webhook_alone(
    acme: Tenant, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    webhook, another = register_webhook(acme, endpoint), register_webhook(acme, other_endpoint)
    emit_event(acme)
    one = _deliveries(acme, webhook)[0]

    answer = acme.post(f"/webhooks/{another['id']}/deliveries/{one['id']}/replay")

    assert answer.status_code == 404


def test_what_is_sent_again_keeps_its_order(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    with tenant_session(acme.ref) as session:
        events.emit(session, *(Event("call.started", {"place": place}) for place in range(5)))
    world.run_jobs(acme)

    world.sql(acme, MOVED)

    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    acme.post(f"/webhooks/{webhook['id']}/replay", period)
    world.run_jobs(acme)

    assert [each.event["data"]["place"] for each in received_requests(endpoint)] == [
        0,
        1,
        2,
        3,
        4,
    ] * 2
    assert list(received_requests(endpoint)[0].event) == ["type", "timestamp", "data"]
    listed = acme.get("/events").json
    assert [each["data"]["place"] for each in listed] == [0, 1, 2, 3, 4]


def test_a_test_event_is_sent_to_that_endpoint_alone(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    register_webhook(acme, other_endpoint)

    answer = acme.post(f"/webhooks/{webhook['id']}/test")
    world.run_jobs(acme)

    assert answer.status_code == 202
    assert (received_types(endpoint), received_types(other_endpoint)) == (["webhook.test"], [])
    assert acme.get("/events").json == []


def test_nothing_is_sent_to_one_that_is_not_active(acme: Tenant, endpoint: HttpReceiver) -> None:
    webhook = register_webhook(acme, endpoint, is_active=False)

    assert acme.post(f"/webhooks/{webhook['id']}/test").json["code"] == "webhook-disabled"


# --- Secrets and URLs ----------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_kept_where_nobody_can_read_it(
    acme: Tenant, globex: Tenant, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)

    assert webhook["secret"].startswith("whsec_")
    assert "secret" not in acme.get(f"/webhooks/{webhook['id']}").json
    with tenant_session(acme.ref) as session:
        kept = bytes(session.scalars(select(Webhook.secret)).one())
    assert webhook["secret"].encode() not in kept
    place = encryption.EncryptionContext(UUID(acme.id), "webhooks", UUID(webhook["id"]), "secret")
    assert encryption.current_keyring().decrypt(kept, place) == webhook["secret"]
    elsewhere = encryption.EncryptionContext(
        UUID(globex.id), "webhooks", UUID(webhook["id"]), "secret"
    )
    with pytest.raises(encryption.DecryptionError):
        encryption.current_keyring().decrypt(kept, elsewhere)


def test_for_a_day_the_secret_before_signs_too(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    rotated = acme.post(f"/webhooks/{webhook['id']}/rotate-secret").json
    emit_event(acme)
    world.run_jobs(acme)
    world.sql(acme, "UPDATE webhooks SET previous_secret_until = now()")
    emit_event(acme)
    world.run_jobs(acme)

    both, newest = received_requests(endpoint)
    assert both.is_signed_with(webhook["secret"])
    assert both.is_signed_with(rotated["secret"])
    assert newest.is_signed_with(rotated["secret"])
    assert not newest.is_signed_with(webhook["secret"])


def test_of_three_secrets_in_a_day_the_newest_two_sign(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    first = register_webhook(acme, endpoint)
    url = f"/webhooks/{first['id']}/rotate-secret"
    second, third = acme.post(url).json, acme.post(url).json
    emit_event(acme)

    world.run_jobs(acme)

    [sent] = received_requests(endpoint)
    signed = [sent.is_signed_with(each["secret"]) for each in (first, second, third)]
    assert signed == [False, True, True]
    assert len(sent.headers["webhook-signature"].split()) == 2


def test_where_the_secret_cannot_be_read_nothing_is_sent_until_there_is_a_new_one(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = register_webhook(acme, endpoint)
    monkeypatch.setattr(encryption, "_keyring", encryption.Keyring([os.urandom(32)]))
    emit_event(acme)
    world.run_jobs(acme)
    assert endpoint.requests == []

    rotated = acme.post(f"/webhooks/{webhook['id']}/rotate-secret").json
    world.run_jobs(acme)

    [sent] = received_requests(endpoint)
    assert sent.is_signed_with(rotated["secret"])
    assert rotated["previous_secret_until"] is None


def test_a_new_url_is_judged_too_and_is_sent_what_waits(
    acme: Tenant, world: Factory, endpoint: HttpReceiver, other_endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)
    world.run_jobs(acme)
    url = f"/webhooks/{webhook['id']}"

    refused = acme.patch(url, {"url": "https://10.0.0.1/"})
    moved = acme.patch(url, {"url": receiver_url(other_endpoint)})
    world.sql(acme, DUE)
    world.run_jobs(acme, include_scheduled=True)

    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (400, "/url")
    assert moved.json["failing_since"] is None
    assert received_types(other_endpoint) == ["message.taken"]


def test_a_removed_webhook_leaves_nothing_and_is_sent_nothing(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    emit_event(acme)

    assert acme.delete(f"/webhooks/{webhook['id']}").status_code == 204
    world.run_jobs(acme)

    assert endpoint.requests == []
    assert acme.get(f"/webhooks/{webhook['id']}/deliveries").status_code == 404


def test_a_tenant_has_twenty_webhooks_at_most(acme: Tenant, endpoint: HttpReceiver) -> None:
    for _ in range(endpoints.MAX_WEBHOOKS):
        register_webhook(acme, endpoint)

    refused = acme.post("/webhooks", {"url": receiver_url(endpoint)})

    assert (refused.status_code, refused.json["code"]) == (409, "too-many-webhooks")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "https://localhost/", "https://10.0.0.1/", "ftp://example.com/"]
)
def test_a_url_that_leads_to_no_public_address_is_refused(
    app: Flask, acme: Tenant, url: str
) -> None:
    answer = acme.post("/webhooks", {"url": url})

    assert answer.status_code == 400
    assert answer.json["errors"][0]["pointer"] == "/url"


def test_what_was_saved_and_leads_elsewhere_now_is_refused_when_it_is_sent(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    http.set_current_client(OutgoingClient(UrlPolicy(allow_http=True)))
    emit_event(acme)

    world.run_jobs(acme)

    assert "public" in _deliveries(acme, webhook)[0]["attempts"][0]["error"]
    assert endpoint.is_unvisited()


# --- Forgetting ----------------------------------------------------------------------------------


def test_what_is_older_than_thirty_days_is_forgotten(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)
    for age in ("31 days", "29 days"):
        emit_event(acme, reason=age)
    world.run_jobs(acme)
    for table in ("events", "webhook_deliveries"):
        where = f"{'data' if table == 'events' else 'payload'}::text LIKE '%31 days%'"
        world.sql(acme, f"UPDATE {table} SET created_at = now() - interval '31 days' WHERE {where}")
    world.make_due(acme, "webhooks.forget")

    world.run_jobs(acme)

    assert len(_deliveries(acme, webhook)) == 1
    with tenant_session(acme.ref) as session:
        assert len(session.scalars(select(WebhookEvent)).all()) == 1
