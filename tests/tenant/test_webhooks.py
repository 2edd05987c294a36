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

from tests.doubles.receiver import PATIENCE_S, Receiver
from tests.support import owner
from tests.support.webhooks import register, status, tell, told, types, url_of
from tests.support.world import Tenant, World
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


def _again(world: World, tenant: Tenant) -> None:
    """The next try, whenever it would have been."""
    world.sql(tenant, DUE)
    world.sql(tenant, READY)
    world.work(tenant, ahead=True)


def _deliveries(tenant: Tenant, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.get(f"/webhooks/{webhook['id']}/deliveries", **query).json
    return found


# --- Trying again --------------------------------------------------------------------------------


def test_a_delivery_that_fails_is_tried_ten_times_under_the_same_id_and_given_up(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    endpoint.behave = status(500)
    webhook = register(acme, endpoint)
    tell(acme)
    world.work(acme)
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
    assert len({each.headers["webhook-id"] for each in told(endpoint)}) == 1


def test_what_failed_is_sent_once_its_receiver_is_well(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    endpoint.behave = status(500)
    webhook = register(acme, endpoint)
    tell(acme)
    world.work(acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["failing_since"]

    endpoint.behave = status(204)
    _again(world, acme)

    [delivery] = _deliveries(acme, webhook, status="delivered")
    assert [each["status"] for each in delivery["attempts"]] == [500, 204]
    assert acme.get(f"/webhooks/{webhook['id']}").json["failing_since"] is None


def test_a_receiver_says_when_to_come_again(acme: Tenant, world: World, endpoint: Receiver) -> None:
    endpoint.behave = status(429, "Retry-After: 7200")
    webhook = register(acme, endpoint)
    tell(acme)
    asked_at = clock.now()

    world.work(acme)

    [delivery] = _deliveries(acme, webhook)
    assert delivery["next_attempt_at"] >= (asked_at + timedelta(hours=2)).isoformat()


def test_after_a_failure_the_endpoint_is_left_alone_and_others_are_not(
    acme: Tenant, world: World, endpoint: Receiver, other_endpoint: Receiver
) -> None:
    endpoint.behave = status(503)
    register(acme, endpoint)
    register(acme, other_endpoint)
    for _ in range(5):
        tell(acme)

    world.work(acme)

    assert len(endpoint.asked) == 1
    assert len(other_endpoint.asked) == 5


def test_a_redirect_is_a_failure_that_nobody_follows(
    acme: Tenant, world: World, endpoint: Receiver, other_endpoint: Receiver
) -> None:
    endpoint.behave = status(302, f"Location: http://127.0.0.1:{other_endpoint.port}/")
    webhook = register(acme, endpoint)
    tell(acme)

    world.work(acme)

    assert _deliveries(acme, webhook)[0]["attempts"][0]["status"] == 302
    assert other_endpoint.nobody_came()


def test_one_that_hangs_holds_up_nobody_else(
    acme: Tenant, world: World, endpoint: Receiver, other_endpoint: Receiver
) -> None:
    arrived, let_go = Signal(), Signal()

    def hang(line: Any, stop: Any) -> None:
        arrived.set()
        let_go.wait(PATIENCE_S)
        status(200)(line, stop)

    endpoint.behave = hang
    slow, quick = register(acme, endpoint), register(acme, other_endpoint)
    box, client = tenant_scope.for_tenant(acme.ref), http.current_client()
    tell(acme)
    sending = Thread(
        target=lambda: delivery_worker.deliver_due(box, webhook_id=UUID(slow["id"]), client=client)
    )
    sending.start()
    assert arrived.wait(PATIENCE_S)

    for _ in range(3):
        tell(acme)
    world.work(acme)

    assert len(_deliveries(acme, quick, status="delivered")) == 4
    assert len(endpoint.asked) == 1
    let_go.set()
    sending.join(PATIENCE_S)
    assert _deliveries(acme, slow, status="delivered")


def test_who_came_while_it_was_busy_does_not_put_the_next_try_off(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)
    tell(acme)

    def fail_while_another_comes(line: Any, stop: Any) -> None:
        box = tenant_scope.for_tenant(acme.ref)
        delivery_worker.deliver_due(
            box, webhook_id=UUID(webhook["id"]), client=http.current_client()
        )
        status(500)(line, stop)

    endpoint.behave = fail_while_another_comes
    world.work(acme)

    [delivery] = _deliveries(acme, webhook)
    with owner.public() as session:
        soonest = session.scalar(text(SOONEST), {"tenant_id": acme.id})
    wanted = datetime.fromisoformat(delivery["next_attempt_at"])
    assert soonest - wanted < timedelta(seconds=5)
    assert len(delivery["attempts"]) == 1


def test_telling_does_not_wait_for_who_holds_the_endpoint(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)

    with tenant_session(acme.ref) as holding:
        wanted = UUID(webhook["id"])
        endpoints.get(
            holding, tenant_scope.for_tenant(acme.ref), webhook_id=wanted, for_update=True
        )
        tell(acme)

    assert len(acme.get("/events").json) == 1


def test_an_endpoint_that_is_being_sent_to_is_not_sent_to_by_another_job(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    register(acme, endpoint)
    world.sql(acme, "UPDATE webhooks SET busy_until = now() + interval '20 seconds'")
    tell(acme)

    world.work(acme)
    assert endpoint.asked == []

    world.sql(acme, "UPDATE webhooks SET busy_until = now() - interval '1 second'")
    world.work(acme, ahead=True)
    assert len(endpoint.asked) == 1


def test_what_has_waited_five_days_for_an_endpoint_that_is_down_is_given_up(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    endpoint.behave = status(500)
    webhook = register(acme, endpoint)
    for _ in range(3):
        tell(acme)
    world.sql(
        acme,
        "UPDATE webhook_deliveries SET next_attempt_at = next_attempt_at - interval '5 days',"
        " expires_at = expires_at - interval '5 days'",
    )
    tell(acme)

    world.work(acme)

    assert len(endpoint.asked) == 1
    assert len(_deliveries(acme, webhook, status="failed")) == 3
    assert len(_deliveries(acme, webhook, status="pending")) == 1


# --- Giving up an endpoint -----------------------------------------------------------------------


def test_an_endpoint_that_is_gone_is_disabled_and_the_others_are_told(
    acme: Tenant, world: World, endpoint: Receiver, other_endpoint: Receiver
) -> None:
    endpoint.behave = status(410)
    webhook = register(acme, endpoint)
    register(acme, other_endpoint, events=["webhook.disabled"])
    tell(acme)

    world.work(acme)

    shown = acme.get(f"/webhooks/{webhook['id']}").json
    assert (shown["is_active"], shown["disabled_reason"]) == (False, "gone")
    [notice] = told(other_endpoint)
    assert notice.event["data"]["webhook_id"] == webhook["id"]
    tell(acme)
    _again(world, acme)
    assert len(endpoint.asked) == 1


def test_one_with_nothing_but_failures_for_five_days_is_disabled_and_may_be_used_again(
    acme: Tenant, world: World, endpoint: Receiver, other_endpoint: Receiver
) -> None:
    endpoint.behave = status(500)
    webhook = register(acme, endpoint)
    register(acme, other_endpoint, events=["webhook.disabled"])
    tell(acme)
    world.work(acme)
    world.sql(acme, "UPDATE webhooks SET failing_since = now() - interval '5 days'")
    _again(world, acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] == "failing"
    [notice] = told(other_endpoint)
    assert notice.event["data"]["reason"] == "failing"

    endpoint.behave = status(200)
    acme.patch(f"/webhooks/{webhook['id']}", {"is_active": True})
    world.sql(acme, DUE)
    world.work(acme, ahead=True)

    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] is None
    assert _deliveries(acme, webhook, status="delivered")


# --- Again, and a test ---------------------------------------------------------------------------


def test_a_delivery_and_a_range_of_them_are_sent_again_under_their_ids(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)
    for _ in range(3):
        tell(acme)
    world.work(acme)
    one = _deliveries(acme, webhook)[0]

    url = f"/webhooks/{webhook['id']}"
    assert acme.post(f"{url}/deliveries/{one['id']}/replay").status_code == 202
    world.work(acme)
    assert [each.event for each in told(endpoint)].count(one["payload"]) == 2

    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    again = acme.post(f"{url}/replay", {**period, "status": "delivered"})
    assert (again.status_code, again.json) == (202, {"deliveries": 3})
    world.work(acme)
    assert len(endpoint.asked) == 7
    assert len({each.headers["webhook-id"] for each in told(endpoint)}) == 3
    turned = acme.post(f"{url}/replay", {"since": period["until"], "until": period["since"]})
    assert (turned.status_code, turned.json["errors"][0]["pointer"]) == (400, "/until")


def test_a_delivery_is_sent_again_by_its_own_webhook_alone(
    acme: Tenant, endpoint: Receiver, other_endpoint: Receiver
) -> None:
    webhook, another = register(acme, endpoint), register(acme, other_endpoint)
    tell(acme)
    one = _deliveries(acme, webhook)[0]

    answer = acme.post(f"/webhooks/{another['id']}/deliveries/{one['id']}/replay")

    assert answer.status_code == 404


def test_what_is_sent_again_keeps_its_order(acme: Tenant, world: World, endpoint: Receiver) -> None:
    webhook = register(acme, endpoint)
    with tenant_session(acme.ref) as session:
        events.emit(session, *(Event("call.started", {"place": place}) for place in range(5)))
    world.work(acme)

    world.sql(acme, MOVED)

    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    acme.post(f"/webhooks/{webhook['id']}/replay", period)
    world.work(acme)

    assert [each.event["data"]["place"] for each in told(endpoint)] == [0, 1, 2, 3, 4] * 2
    assert list(told(endpoint)[0].event) == ["type", "timestamp", "data"]
    listed = acme.get("/events").json
    assert [each["data"]["place"] for each in listed] == [0, 1, 2, 3, 4]


def test_a_test_event_is_sent_to_that_endpoint_alone(
    acme: Tenant, world: World, endpoint: Receiver, other_endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)
    register(acme, other_endpoint)

    answer = acme.post(f"/webhooks/{webhook['id']}/test")
    world.work(acme)

    assert answer.status_code == 202
    assert (types(endpoint), types(other_endpoint)) == (["webhook.test"], [])
    assert acme.get("/events").json == []


def test_nothing_is_sent_to_one_that_is_not_active(acme: Tenant, endpoint: Receiver) -> None:
    webhook = register(acme, endpoint, is_active=False)

    assert acme.post(f"/webhooks/{webhook['id']}/test").json["code"] == "webhook-disabled"


# --- Secrets and URLs ----------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_kept_where_nobody_can_read_it(
    acme: Tenant, globex: Tenant, endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)

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
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)
    rotated = acme.post(f"/webhooks/{webhook['id']}/rotate-secret").json
    tell(acme)
    world.work(acme)
    world.sql(acme, "UPDATE webhooks SET previous_secret_until = now()")
    tell(acme)
    world.work(acme)

    both, newest = told(endpoint)
    assert both.is_signed_with(webhook["secret"])
    assert both.is_signed_with(rotated["secret"])
    assert newest.is_signed_with(rotated["secret"])
    assert not newest.is_signed_with(webhook["secret"])


def test_of_three_secrets_in_a_day_the_newest_two_sign(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    first = register(acme, endpoint)
    url = f"/webhooks/{first['id']}/rotate-secret"
    second, third = acme.post(url).json, acme.post(url).json
    tell(acme)

    world.work(acme)

    [sent] = told(endpoint)
    signed = [sent.is_signed_with(each["secret"]) for each in (first, second, third)]
    assert signed == [False, True, True]
    assert len(sent.headers["webhook-signature"].split()) == 2


def test_where_the_secret_cannot_be_read_nothing_is_sent_until_there_is_a_new_one(
    acme: Tenant, world: World, endpoint: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = register(acme, endpoint)
    monkeypatch.setattr(encryption, "_keyring", encryption.Keyring([os.urandom(32)]))
    tell(acme)
    world.work(acme)
    assert endpoint.asked == []

    rotated = acme.post(f"/webhooks/{webhook['id']}/rotate-secret").json
    world.work(acme)

    [sent] = told(endpoint)
    assert sent.is_signed_with(rotated["secret"])
    assert rotated["previous_secret_until"] is None


def test_a_new_url_is_judged_too_and_is_sent_what_waits(
    acme: Tenant, world: World, endpoint: Receiver, other_endpoint: Receiver
) -> None:
    endpoint.behave = status(500)
    webhook = register(acme, endpoint)
    tell(acme)
    world.work(acme)
    url = f"/webhooks/{webhook['id']}"

    refused = acme.patch(url, {"url": "https://10.0.0.1/"})
    moved = acme.patch(url, {"url": url_of(other_endpoint)})
    world.sql(acme, DUE)
    world.work(acme, ahead=True)

    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (400, "/url")
    assert moved.json["failing_since"] is None
    assert types(other_endpoint) == ["message.taken"]


def test_a_removed_webhook_leaves_nothing_and_is_sent_nothing(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)
    tell(acme)

    assert acme.delete(f"/webhooks/{webhook['id']}").status_code == 204
    world.work(acme)

    assert endpoint.asked == []
    assert acme.get(f"/webhooks/{webhook['id']}/deliveries").status_code == 404


def test_a_tenant_has_twenty_webhooks_at_most(acme: Tenant, endpoint: Receiver) -> None:
    for _ in range(endpoints.MAX_WEBHOOKS):
        register(acme, endpoint)

    refused = acme.post("/webhooks", {"url": url_of(endpoint)})

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
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)
    http.set_current_client(OutgoingClient(UrlPolicy(allow_http=True)))
    tell(acme)

    world.work(acme)

    assert "public" in _deliveries(acme, webhook)[0]["attempts"][0]["error"]
    assert endpoint.nobody_came()


# --- Forgetting ----------------------------------------------------------------------------------


def test_what_is_older_than_thirty_days_is_forgotten(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = register(acme, endpoint)
    for age in ("31 days", "29 days"):
        tell(acme, reason=age)
    world.work(acme)
    for table in ("events", "webhook_deliveries"):
        where = f"{'data' if table == 'events' else 'payload'}::text LIKE '%31 days%'"
        world.sql(acme, f"UPDATE {table} SET created_at = now() - interval '31 days' WHERE {where}")
    world.due(acme, "webhooks.forget")

    world.work(acme)

    assert len(_deliveries(acme, webhook)) == 1
    with tenant_session(acme.ref) as session:
        assert len(session.scalars(select(WebhookEvent)).all()) == 1
