"""Tests of the platform's webhooks, which receive the events of all tenants."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.fakes.http_receiver import HttpReceiver
from tests.support import admin_db
from tests.support.factories import Factory, Platform, Tenant, assert_created
from tests.support.tenants_cli import TenantsCli
from tests.support.webhooks import (
    emit_event,
    received_requests,
    received_types,
    receiver_url,
    register_webhook,
    reply_with_status,
)
from vca.kit import clock, encryption
from vca.kit.encryption import DecryptionError
from vca.registry.tenants import service as tenants
from vca.registry.webhooks import endpoints, retention
from vca.registry.webhooks.delivery_worker import DELIVERY_LIFETIME
from vca.registry.webhooks.models import PlatformDelivery, PlatformWebhook
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.tenancy.session import public_session, tenant_session

URL = "/api/webhooks"
EMIT_SQL = "SELECT public.tell_operators(:id, 'call.ended', CAST(:payload AS jsonb), now())"


@pytest.fixture(autouse=True)
def _delete_webhooks(platform: Platform) -> Iterator[None]:
    """Delete the platform's webhooks, which later tests would share."""
    yield
    _sql("DELETE FROM public.webhooks")


def _sql(statement: str) -> None:
    with admin_db.public_session() as session:
        session.execute(text(statement))


def _register(platform: Platform, receiver: HttpReceiver, **fields: Any) -> dict[str, Any]:
    return assert_created(platform.api.post(URL, {"url": receiver_url(receiver), **fields}))


def _deliveries(platform: Platform, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    deliveries: list[dict[str, Any]] = platform.api.get(
        f"{URL}/{webhook['id']}/deliveries", **query
    ).json
    return deliveries


def test_a_platform_webhook_receives_events_of_all_tenants_with_tenant_ids(
    acme: Tenant, globex: Tenant, platform: Platform, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = _register(platform, endpoint, events=["message.taken"])
    for tenant in (acme, globex):
        emit_event(tenant)
        emit_event(tenant, "call.ended")

    world.run_platform_jobs()

    assert [request.event["data"]["tenant_id"] for request in received_requests(endpoint)] == [
        acme.id,
        globex.id,
    ]
    assert received_types(endpoint) == ["message.taken"] * 2
    assert all(request.is_signed_with(webhook["secret"]) for request in received_requests(endpoint))
    assert len(_deliveries(platform, webhook, status="delivered")) == 2


def test_platform_and_tenant_receive_the_same_event_with_the_same_id(
    acme: Tenant,
    platform: Platform,
    world: Factory,
    endpoint: HttpReceiver,
    other_endpoint: HttpReceiver,
) -> None:
    _register(platform, endpoint)
    register_webhook(acme, other_endpoint)
    emit_event(acme, call_id="x")

    world.run_platform_jobs()
    world.run_jobs(acme)

    [platform_request], [tenant_request] = (
        received_requests(endpoint),
        received_requests(other_endpoint),
    )
    assert platform_request.event == tenant_request.event
    assert platform_request.headers["webhook-id"] == tenant_request.headers["webhook-id"]
    assert (
        platform_request.headers["webhook-signature"] != tenant_request.headers["webhook-signature"]
    )


@pytest.mark.parametrize("moment", ["now()", "now() + interval '100 days'"])
def test_a_tenant_cannot_choose_when_a_delivery_to_the_platform_expires(
    acme: Tenant, platform: Platform, world: Factory, endpoint: HttpReceiver, moment: str
) -> None:
    _register(platform, endpoint)
    payload = '{"type": "call.ended", "timestamp": "2026-12-01T12:00:00Z", "data": {}}'
    emit_sql = f"SELECT public.tell_operators(:id, 'call.ended', CAST(:payload AS jsonb), {moment})"
    lifetime_sql = "SELECT expires_at - now() FROM public.webhook_deliveries"

    with tenant_session(acme.ref) as session:
        session.execute(text(emit_sql), {"id": uuid4(), "payload": payload})
    with admin_db.public_session() as session:
        [lifetime] = session.scalars(text(lifetime_sql)).all()

    world.run_platform_jobs()  # later tests would share them
    assert DELIVERY_LIFETIME - timedelta(minutes=1) < lifetime <= DELIVERY_LIFETIME


def test_a_rolled_back_change_sends_no_event(
    acme: Tenant, platform: Platform, world: Factory, endpoint: HttpReceiver
) -> None:
    _register(platform, endpoint)
    with public_session() as session:
        tenants.update(session, tenant_id=UUID(acme.id), status="suspended")
        session.rollback()

    assert world.run_platform_jobs() == []
    assert endpoint.requests == []


def test_a_status_change_sends_one_event_to_the_platform_and_one_to_the_tenant(
    acme: Tenant,
    platform: Platform,
    world: Factory,
    endpoint: HttpReceiver,
    other_endpoint: HttpReceiver,
) -> None:
    _register(platform, endpoint)
    register_webhook(acme, other_endpoint)
    for status in ("suspended", "suspended", "active", "deleted"):
        platform.api.patch(acme.url(), {"status": status})

    world.run_platform_jobs()
    world.run_jobs(acme)
    world.run_platform_jobs()

    expected = ["tenant.suspended", "tenant.activated", "tenant.deleted"]
    assert received_types(endpoint) == received_types(other_endpoint) == expected
    assert [request.event for request in received_requests(endpoint)] == [
        request.event for request in received_requests(other_endpoint)
    ]
    ids = [request.headers["webhook-id"] for request in received_requests(endpoint)]
    assert ids == [request.headers["webhook-id"] for request in received_requests(other_endpoint)]


def test_a_tenant_cannot_emit_an_event_with_another_tenants_id(
    acme: Tenant, globex: Tenant, platform: Platform, endpoint: HttpReceiver
) -> None:
    webhook = _register(platform, endpoint)
    payload = f'{{"type": "call.ended", "data": {{"tenant_id": "{globex.id}"}}}}'

    with tenant_session(acme.ref) as session:
        session.execute(text(EMIT_SQL), {"id": uuid4(), "payload": payload})

    [delivery] = _deliveries(platform, webhook)
    assert delivery["payload"]["data"]["tenant_id"] == acme.id


def test_a_disabled_webhook_is_reported_to_the_other_platform_webhooks(
    acme: Tenant,
    platform: Platform,
    world: Factory,
    endpoint: HttpReceiver,
    other_endpoint: HttpReceiver,
) -> None:
    endpoint.behaviour = reply_with_status(410)
    disabled = _register(platform, endpoint)
    _register(platform, other_endpoint, events=["webhook.disabled"])
    emit_event(acme)

    world.run_platform_jobs()

    response_body = platform.api.get(f"{URL}/{disabled['id']}").json
    assert (response_body["is_active"], response_body["disabled_reason"]) == (False, "gone")
    [notice] = received_requests(other_endpoint)
    assert notice.event["data"] == {"webhook_id": disabled["id"], "reason": "gone"}
    emit_event(acme)
    assert len(_deliveries(platform, disabled)) == 1


def test_a_platform_webhook_is_updated_tested_rotated_redelivered_and_deleted(
    acme: Tenant, platform: Platform, world: Factory, endpoint: HttpReceiver
) -> None:
    first = _register(platform, endpoint, is_active=False)
    url = f"{URL}/{first['id']}"
    assert platform.api.post(f"{url}/test").json["code"] == "webhook-disabled"
    assert platform.api.patch(url, {"is_active": True, "events": ["call.ended"]}).json["is_active"]
    assert [webhook["id"] for webhook in platform.api.get(URL).json] == [first["id"]]

    test_delivery = platform.api.post(f"{url}/test").json
    second = platform.api.post(f"{url}/rotate-secret").json
    world.run_platform_jobs()
    redelivered = platform.api.post(f"{url}/deliveries/{test_delivery['id']}/replay")
    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    range_response = platform.api.post(f"{url}/replay", period)
    world.run_platform_jobs()

    assert (redelivered.status_code, range_response.json) == (202, {"deliveries": 1})
    assert received_types(endpoint) == ["webhook.test"] * 2
    for request in received_requests(endpoint):
        assert request.is_signed_with(first["secret"])
        assert request.is_signed_with(second["secret"])
    assert platform.api.delete(url).status_code == 204
    assert platform.api.get(f"{url}/deliveries").status_code == 404


def test_a_platform_secret_cannot_be_decrypted_as_a_secret_of_a_tenant(
    acme: Tenant, platform: Platform, endpoint: HttpReceiver
) -> None:
    webhook = _register(platform, endpoint)
    with public_session() as session:
        row = session.get_one(PlatformWebhook, UUID(webhook["id"]))
        assert endpoints.signing_secrets(PLATFORM_SCOPE, row, now=row.created_at) == [
            webhook["secret"]
        ]

        tenant_context = encryption.EncryptionContext(UUID(acme.id), "webhooks", row.id, "secret")
        with pytest.raises(DecryptionError):
            encryption.current_keyring().decrypt(bytes(row.secret), tenant_context)


def test_platform_deliveries_are_purged_after_thirty_days(
    acme: Tenant, platform: Platform, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = _register(platform, endpoint)
    emit_event(acme)
    emit_event(acme)
    world.run_platform_jobs()
    first = _deliveries(platform, webhook)[-1]
    _sql(
        "UPDATE public.webhook_deliveries SET created_at = now() - interval '30 days'"
        f" WHERE id = '{first['id']}'"
    )

    with public_session() as session:
        retention.purge_expired(session, tables=[PlatformDelivery], now=clock.now())

    assert len(_deliveries(platform, webhook)) == 1


def test_an_erasure_sends_a_tenant_deleted_event(
    tenants_cli: TenantsCli, template_world: Factory, endpoint: HttpReceiver
) -> None:
    platform, tenant = template_world.platform(), template_world.tenant("Acme")
    _register(platform, endpoint)

    tenants_cli.invoke_json("erase", tenant.id, "--yes")
    template_world.run_platform_jobs()

    [request] = received_requests(endpoint)
    assert (request.event["type"], request.event["data"]["tenant_id"]) == (
        "tenant.deleted",
        tenant.id,
    )
