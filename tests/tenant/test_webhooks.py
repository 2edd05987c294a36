"""Webhooks: what happens is told to those who want it, signed, again and not for ever."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from tests.doubles.receiver import Receiver, receiver
from tests.support import webhooks
from tests.support.webhooks import status, told, types
from tests.support.world import Tenant, World, made
from vca.kit import at_rest, clock, http
from vca.kit.http import Allowed, OutgoingClient
from vca.registry.webhooks import delivering
from vca.tenancy.session import enter
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event
from vca.tenant.webhooks.models import ToldEvent, Webhook

DUE = "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'"
READY = "UPDATE webhooks SET paused_until = NULL"


@pytest.fixture
def endpoint(app: Flask) -> Iterator[Receiver]:
    """A tenant's own system."""
    webhooks.allow_loopback()
    with receiver() as listening:
        yield listening


@pytest.fixture
def other(app: Flask) -> Iterator[Receiver]:
    """Another one."""
    with receiver() as listening:
        yield listening


def _register(tenant: Tenant, at: Receiver, **fields: Any) -> dict[str, Any]:
    return made(tenant.post("/webhooks", {"url": f"http://127.0.0.1:{at.port}/in", **fields}))


def _tell(tenant: Tenant, type: str = "message.taken", **data: Any) -> None:
    with enter(tenant.ref) as session:
        events.tell(session, Event(type, data))


def _again(world: World, tenant: Tenant) -> None:
    """The next try, whenever it would have been."""
    world.sql(tenant, DUE)
    world.sql(tenant, READY)
    world.work(tenant, ahead=True)


def _deliveries(tenant: Tenant, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.get(f"/webhooks/{webhook['id']}/deliveries", **query).json
    return found


# --- Telling -------------------------------------------------------------------------------------


def test_a_call_is_told_from_ring_to_end_with_its_ids_and_no_number(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = _register(acme, endpoint)
    profile, number = acme.profile(), acme.number()
    call = acme.simulate(number["did_number"], **{"from": "+14155550123"})
    acme.post(f"/calls/{call['call_id']}/hangup")

    world.work(acme)

    sent = {each.event["type"]: each for each in told(endpoint)}
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
    acme: Tenant, world: World, endpoint: Receiver, other: Receiver
) -> None:
    _register(acme, endpoint, events=["call.ended"])
    _register(acme, other, is_active=False)
    _tell(acme, "call.started")
    _tell(acme, "call.ended")

    world.work(acme)

    assert types(endpoint) == ["call.ended"]
    assert types(other) == []
    assert [each["type"] for each in acme.get("/events").json] == ["call.started", "call.ended"]


def test_what_did_not_happen_is_not_told(acme: Tenant, world: World, endpoint: Receiver) -> None:
    _register(acme, endpoint)
    with enter(acme.ref) as session:
        events.tell(session, Event("message.taken", {}))
        session.rollback()

    world.work(acme)

    assert types(endpoint) == []
    assert acme.get("/events").json == []


def test_an_event_that_is_told_twice_under_one_id_is_sent_once(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    _register(acme, endpoint)
    event = Event("tenant.suspended", {})
    for _ in range(2):
        with enter(acme.ref) as session:
            events.tell(session, event)

    world.work(acme)

    assert [each.headers["webhook-id"] for each in told(endpoint)] == [f"evt_{event.id.hex}"]


def test_a_change_of_the_tenants_status_is_told(
    acme: Tenant, world: World, platform: Any, endpoint: Receiver
) -> None:
    _register(acme, endpoint)
    for wanted in ("suspended", "suspended", "active", "deleted"):
        assert platform.api.patch(acme.url(), {"status": wanted}).status_code == 200

    world.work(acme)

    assert types(endpoint) == ["tenant.suspended", "tenant.activated", "tenant.deleted"]


# --- Trying again --------------------------------------------------------------------------------


def test_a_delivery_that_fails_is_tried_ten_times_under_the_same_id_and_given_up(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    endpoint.behave = status(500)
    webhook = _register(acme, endpoint)
    _tell(acme)
    world.work(acme)
    [delivery] = _deliveries(acme, webhook)
    assert (delivery["status"], delivery["attempts"][0]["status"]) == ("pending", 500)
    assert delivery["attempts"][0]["response"] == "told"

    for _ in range(12):
        _again(world, acme)

    [delivery] = _deliveries(acme, webhook)
    assert (delivery["status"], len(delivery["attempts"])) == ("failed", delivering.TRIES)
    assert len({each.headers["webhook-id"] for each in told(endpoint)}) == 1


def test_what_failed_is_sent_once_its_receiver_is_well(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    endpoint.behave = status(500)
    webhook = _register(acme, endpoint)
    _tell(acme)
    world.work(acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["failing_since"]

    endpoint.behave = status(204)
    _again(world, acme)

    [delivery] = _deliveries(acme, webhook, status="delivered")
    assert [each["status"] for each in delivery["attempts"]] == [500, 204]
    assert acme.get(f"/webhooks/{webhook['id']}").json["failing_since"] is None


def test_a_receiver_says_when_to_come_again(acme: Tenant, world: World, endpoint: Receiver) -> None:
    endpoint.behave = status(429, "Retry-After: 7200")
    webhook = _register(acme, endpoint)
    _tell(acme)
    asked_at = clock.now()

    world.work(acme)

    [delivery] = _deliveries(acme, webhook)
    assert delivery["next_attempt_at"] >= (asked_at + timedelta(hours=2)).isoformat()


def test_after_a_failure_the_endpoint_is_left_alone_and_others_are_not(
    acme: Tenant, world: World, endpoint: Receiver, other: Receiver
) -> None:
    endpoint.behave = status(503)
    _register(acme, endpoint)
    _register(acme, other)
    for _ in range(5):
        _tell(acme)

    world.work(acme)

    assert len(endpoint.asked) == 1
    assert len(other.asked) == 5


def test_a_redirect_is_a_failure_that_nobody_follows(
    acme: Tenant, world: World, endpoint: Receiver, other: Receiver
) -> None:
    endpoint.behave = status(302, f"Location: http://127.0.0.1:{other.port}/")
    webhook = _register(acme, endpoint)
    _tell(acme)

    world.work(acme)

    assert _deliveries(acme, webhook)[0]["attempts"][0]["status"] == 302
    assert other.nobody_came()


def test_an_endpoint_that_is_being_sent_to_is_not_sent_to_by_another_job(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    _register(acme, endpoint)
    world.sql(acme, "UPDATE webhooks SET busy_until = now() + interval '20 seconds'")
    _tell(acme)

    world.work(acme)
    assert endpoint.asked == []

    world.sql(acme, "UPDATE webhooks SET busy_until = now() - interval '1 second'")
    world.work(acme, ahead=True)
    assert len(endpoint.asked) == 1


# --- Giving up an endpoint -----------------------------------------------------------------------


def test_an_endpoint_that_is_gone_is_disabled_and_the_others_are_told(
    acme: Tenant, world: World, endpoint: Receiver, other: Receiver
) -> None:
    endpoint.behave = status(410)
    webhook = _register(acme, endpoint)
    _register(acme, other, events=["webhook.disabled"])
    _tell(acme)

    world.work(acme)

    shown = acme.get(f"/webhooks/{webhook['id']}").json
    assert (shown["is_active"], shown["disabled_reason"]) == (False, "gone")
    [notice] = told(other)
    assert notice.event["data"]["webhook_id"] == webhook["id"]
    _tell(acme)
    _again(world, acme)
    assert len(endpoint.asked) == 1


def test_one_with_nothing_but_failures_for_five_days_is_disabled_and_may_be_used_again(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    endpoint.behave = status(500)
    webhook = _register(acme, endpoint)
    _tell(acme)
    world.work(acme)
    world.sql(acme, "UPDATE webhooks SET failing_since = now() - interval '5 days'")
    _again(world, acme)
    assert acme.get(f"/webhooks/{webhook['id']}").json["disabled_reason"] == "failing"

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
    webhook = _register(acme, endpoint)
    for _ in range(3):
        _tell(acme)
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


def test_a_test_event_is_sent_to_that_endpoint_alone(
    acme: Tenant, world: World, endpoint: Receiver, other: Receiver
) -> None:
    webhook = _register(acme, endpoint)
    _register(acme, other)

    answer = acme.post(f"/webhooks/{webhook['id']}/test")
    world.work(acme)

    assert answer.status_code == 202
    assert (types(endpoint), types(other)) == (["webhook.test"], [])
    assert acme.get("/events").json == []


def test_nothing_is_sent_to_one_that_is_not_active(acme: Tenant, endpoint: Receiver) -> None:
    webhook = _register(acme, endpoint, is_active=False)

    assert acme.post(f"/webhooks/{webhook['id']}/test").json["code"] == "webhook-disabled"


# --- Secrets and URLs ----------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_kept_where_nobody_can_read_it(
    acme: Tenant, globex: Tenant, endpoint: Receiver
) -> None:
    webhook = _register(acme, endpoint)

    assert webhook["secret"].startswith("whsec_")
    assert "secret" not in acme.get(f"/webhooks/{webhook['id']}").json
    with enter(acme.ref) as session:
        kept = bytes(session.scalars(select(Webhook.secret)).one())
    assert webhook["secret"].encode() not in kept
    place = at_rest.Place(UUID(acme.id), "webhooks", UUID(webhook["id"]), "secret")
    assert at_rest.current().open(kept, place) == webhook["secret"]
    elsewhere = at_rest.Place(UUID(globex.id), "webhooks", UUID(webhook["id"]), "secret")
    with pytest.raises(at_rest.CannotOpen):
        at_rest.current().open(kept, elsewhere)


def test_for_a_day_the_secret_before_signs_too(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = _register(acme, endpoint)
    rotated = acme.post(f"/webhooks/{webhook['id']}/rotate-secret").json
    _tell(acme)
    world.work(acme)
    world.sql(acme, "UPDATE webhooks SET previous_secret_until = now()")
    _tell(acme)
    world.work(acme)

    both, newest = told(endpoint)
    assert both.is_signed_with(webhook["secret"])
    assert both.is_signed_with(rotated["secret"])
    assert newest.is_signed_with(rotated["secret"])
    assert not newest.is_signed_with(webhook["secret"])


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
    webhook = _register(acme, endpoint)
    http.use(OutgoingClient(Allowed(http=True)))
    _tell(acme)

    world.work(acme)

    assert "public" in _deliveries(acme, webhook)[0]["attempts"][0]["error"]
    assert endpoint.nobody_came()


# --- Forgetting ----------------------------------------------------------------------------------


def test_what_is_older_than_thirty_days_is_forgotten(
    acme: Tenant, world: World, endpoint: Receiver
) -> None:
    webhook = _register(acme, endpoint)
    for age in ("31 days", "29 days"):
        _tell(acme, reason=age)
    world.work(acme)
    for table in ("events", "webhook_deliveries"):
        where = f"{'data' if table == 'events' else 'payload'}::text LIKE '%31 days%'"
        world.sql(acme, f"UPDATE {table} SET created_at = now() - interval '31 days' WHERE {where}")
    world.due(acme, "webhooks.forget")

    world.work(acme)

    assert len(_deliveries(acme, webhook)) == 1
    with enter(acme.ref) as session:
        assert len(session.scalars(select(ToldEvent)).all()) == 1
