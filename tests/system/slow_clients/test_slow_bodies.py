"""Clients that drip the bodies of their requests: with a key, without one, and as a carrier."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Platform, Tenant
from tests.support.processes import WebServer, wait_until
from tests.support.slow_clients import (
    RawClient,
    dripping,
    encode_head,
    encode_json_head,
    raw_clients,
)
from tests.system.slow_clients.conftest import RingNumber

ANSWER_S = 5.0


def _idle_transactions() -> int:
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state = 'idle in transaction'"
        " AND pid <> pg_backend_pid() AND clock_timestamp() - state_change > interval '0.2 s'"
    )
    with admin_db.public_session() as session:
        return session.scalar(query) or 0


def _statuses(clients: list[RawClient]) -> set[tuple[int, str]]:
    """Return status and code of every response."""
    responses = [client.read_response() for client in clients]
    return {
        (status, content.partition('"code":"')[2].partition('"')[0])
        for status, content in responses
    }


@pytest.mark.parametrize("count", [10, 24])
def test_slow_bodies_with_a_key_hold_no_transaction_and_delay_nobody(
    web: WebServer, acme: Tenant, globex: Tenant, ring_globex: RingNumber, count: int
) -> None:
    head = encode_json_head(acme.url("/phone-numbers"), acme.key, 5_000)
    client = web.with_key(globex.key)

    with raw_clients(web.port, count) as slow, dripping(slow, head + b"{"):
        statuses = [
            client.get(globex.url("/phone-numbers"), timeout_s=ANSWER_S).status,
            client.request(
                "POST", globex.url("/ai-profiles"), {"system_prompt": "Hi."}, timeout_s=ANSWER_S
            ).status,
            ring_globex().status,
        ]
        idle_transactions = _idle_transactions()
        refusals = _statuses(slow)

    assert statuses == [200, 201, 200]
    assert idle_transactions == 0
    assert refusals == {(408, "body-too-slow"), (429, "busy")}


def test_a_strangers_body_is_not_read(web: WebServer, acme: Tenant) -> None:
    head = encode_json_head(acme.url("/phone-numbers"), None, 5_000)

    with raw_clients(web.port, 24) as slow, dripping(slow, head):
        responses = [client.read_response() for client in slow]
        are_closed = [client.is_closed_by_server() for client in slow]

    assert {status for status, _ in responses} == {401}
    assert all("\r\nConnection: close\r\n" in content for _, content in responses)
    assert all(are_closed)


def test_a_body_that_is_not_wanted_closes_the_connection(web: WebServer, acme: Tenant) -> None:
    headers = {"Authorization": f"Bearer {acme.key}", "Content-Length": "100"}

    with raw_clients(web.port, 1) as [client]:
        client.send(encode_head("GET", acme.url("/phone-numbers"), headers))
        status, content = client.read_response()

        assert client.is_closed_by_server()
    assert status == 200
    assert "\r\nConnection: close\r\n" in content


def test_slow_bodies_in_a_carriers_name_refuse_no_carrier(
    web: WebServer, ring_globex: RingNumber
) -> None:
    head = encode_head("POST", "/telephony/fake/voice", {"Content-Length": "5000"})

    with raw_clients(web.port, 24) as slow, dripping(slow, head + b"{"):
        statuses = [ring_globex().status for _ in range(10)]
        refusals = _statuses(slow)

    assert statuses == [200] * 10
    assert refusals == {(408, "body-too-slow"), (429, "busy")}


def test_a_body_in_several_packets_is_read(web: WebServer, acme: Tenant) -> None:
    body = b'{"system_prompt": "Hello."}'
    request = encode_json_head(acme.url("/ai-profiles"), acme.key, len(body)) + body

    with raw_clients(web.port, 1) as [client]:
        for chunk in (request[:-10], request[-10:-1], request[-1:] + request):
            client.send(chunk)
            time.sleep(0.01)  # each chunk must be a packet of its own
        statuses = [client.read_response()[0] for _ in range(2)]

    assert statuses == [201, 201]


def test_a_chunked_body_is_refused_and_the_connection_closed(web: WebServer, acme: Tenant) -> None:
    headers = {
        "Authorization": f"Bearer {acme.key}",
        "Content-Type": "application/json",
        "Transfer-Encoding": "chunked",
    }

    with raw_clients(web.port, 1) as [client]:
        client.send(encode_head("POST", acme.url("/ai-profiles"), headers) + b"2\r\n{}\r\n")
        status, _ = client.read_response()

        assert client.is_closed_by_server()
    assert status == 411


def _revoke_key(acme: Tenant, platform: Platform) -> None:
    [key] = platform.api.get(f"/api/tenants/{acme.id}/api-keys").json
    assert platform.api.delete(f"/api/tenants/{acme.id}/api-keys/{key['id']}").status_code == 204


def _suspend(acme: Tenant, platform: Platform) -> None:
    response = platform.api.patch(f"/api/tenants/{acme.id}", {"status": "suspended"})
    assert response.status_code == 200


def _delete(acme: Tenant, platform: Platform) -> None:
    response = platform.api.patch(f"/api/tenants/{acme.id}", {"status": "deleted"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("change", "path", "refusal"),
    [
        (_revoke_key, "/ai-profiles", (401, "unauthorized")),
        (_revoke_key, "/simulations", (401, "unauthorized")),
        (_suspend, "/ai-profiles", (403, "tenant-suspended")),
        (_suspend, "/simulations", (403, "tenant-suspended")),
        (_delete, "/ai-profiles", (401, "unauthorized")),
    ],
)
def test_a_change_while_a_body_drips_counts(
    web: WebServer,
    acme: Tenant,
    platform: Platform,
    change: Callable[[Tenant, Platform], None],
    path: str,
    refusal: tuple[int, str],
) -> None:
    body = b'{"system_prompt": "Hi."}'
    _forget_key_use(acme)

    with raw_clients(web.port, 1) as [client]:
        client.send(encode_json_head(acme.url(path), acme.key, len(body)) + body[:-1])
        wait_until(lambda: _was_key_read(acme))
        change(acme, platform)
        client.send(body[-1:])

        assert _statuses([client]) == {refusal}


def _forget_key_use(acme: Tenant) -> None:
    """Have the next use of the tenant's key recorded, as if it was not used before."""
    statement = text("UPDATE api_keys SET last_used_at = NULL WHERE tenant_id = :id")
    with admin_db.public_session() as session:
        session.execute(statement, {"id": acme.id})


def _was_key_read(acme: Tenant) -> bool:
    """Return whether the server has read the tenant's key."""
    query = text("SELECT count(last_used_at) FROM api_keys WHERE tenant_id = :id")
    with admin_db.public_session() as session:
        return bool(session.scalar(query, {"id": acme.id}))
