"""Tests of the connections of webhooks: they are shared by the requests of one tenant only."""

from tests.fakes.http_receiver import HttpReceiver, keep_open
from tests.support.factories import Factory, Tenant
from tests.support.webhooks import emit_event, received_types, register_webhook

OK = b"HTTP/1.1 204 Accepted\r\n\r\n"


def test_the_events_of_a_tenant_use_one_connection_and_share_it_with_no_other_tenant(
    acme: Tenant, globex: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = keep_open(endpoint, OK)
    for tenant in (acme, globex):
        register_webhook(tenant, endpoint, events=["message.taken"])
        for _ in range(3):
            emit_event(tenant)

    for tenant in (acme, globex):
        world.run_jobs(tenant)

    assert received_types(endpoint) == ["message.taken"] * 6
    assert len(endpoint.client_ports) == 2


def test_an_event_whose_connection_is_lost_is_recorded_as_a_failed_attempt_and_sent_once(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = keep_open(endpoint, OK, b"")
    webhook = register_webhook(acme, endpoint, events=["message.taken"])
    for _ in range(2):
        emit_event(acme)

    world.run_jobs(acme)

    assert len(endpoint.requests) == 2
    deliveries = acme.get(f"/webhooks/{webhook['id']}/deliveries").json
    assert sorted(delivery["status"] for delivery in deliveries) == ["delivered", "pending"]
    [pending] = [delivery for delivery in deliveries if delivery["status"] == "pending"]
    [attempt] = pending["attempts"]
    assert attempt["error"] == "The response is incomplete or is not valid HTTP."
