"""The operator's webhooks: told of all tenants, and nothing that a tenant does reaches them."""

from collections.abc import Iterator
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
from vca.registry.webhooks.models import PlatformDelivery, PlatformWebhook
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.tenancy.session import public_session, tenant_session

URL = "/api/webhooks"
TELL = "SELECT public.tell_operators(:id, 'call.ended', CAST(:payload AS jsonb), now(), now())"


@pytest.fixture(autouse=True)
def _clean(platform: Platform) -> Iterator[None]:
    """What the operator has is there for all tests that come later."""
    yield
    _sql("DELETE FROM public.webhooks")


def _sql(statement: str) -> None:
    with admin_db.public_session() as session:
        session.execute(text(statement))


def _register(platform: Platform, at: HttpReceiver, **fields: Any) -> dict[str, Any]:
    return assert_created(platform.api.post(URL, {"url": receiver_url(at), **fields}))


def _deliveries(platform: Platform, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.api.get(
        f"{URL}/{webhook['id']}/deliveries", **query
    ).json
    return found


def test_the_operator_is_told_of_all_tenants_and_each_event_says_whose_it_is(
    acme: Tenant, globex: Tenant, platform: Platform, world: Factory, endpoint: HttpReceiver
) -> None:
    webhook = _register(platform, endpoint, events=["message.taken"])
    for tenant in (acme, globex):
        emit_event(tenant)
        emit_event(tenant, "call.ended")

    world.run_platform_jobs()

    assert [each.event["data"]["tenant_id"] for each in received_requests(endpoint)] == [
        acme.id,
        globex.id,
    ]
    assert received_types(endpoint) == ["message.taken"] * 2
    assert all(each.is_signed_with(webhook["secret"]) for each in received_requests(endpoint))
    assert len(_deliveries(platform, webhook, status="delivered")) == 2


def test_both_are_told_the_same_under_the_same_id(
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

    [operators], [tenants] = received_requests(endpoint), received_requests(other_endpoint)
    assert operators.event == tenants.event
    assert operators.headers["webhook-id"] == tenants.headers["webhook-id"]
    assert operators.headers["webhook-signature"] != tenants.headers["webhook-signature"]


def test_what_is_rolled_back_is_not_told(
    acme: Tenant, platform: Platform, world: Factory, endpoint: HttpReceiver
) -> None:
    _register(platform, endpoint)
    with public_session() as session:
        tenants.update(session, tenant_id=UUID(acme.id), status="suspended")
        session.rollback()

    assert world.run_platform_jobs() == []
    assert endpoint.requests == []


def test_a_change_of_a_tenants_status_is_told_once_to_the_operator_and_to_the_tenant(
    acme: Tenant,
    platform: Platform,
    world: Factory,
    endpoint: HttpReceiver,
    other_endpoint: HttpReceiver,
) -> None:
    _register(platform, endpoint)
    register_webhook(acme, other_endpoint)
    for wanted in ("suspended", "suspended", "active", "deleted"):
        platform.api.patch(acme.url(), {"status": wanted})

    world.run_platform_jobs()
    world.run_jobs(acme)
    world.run_platform_jobs()

    wanted = ["tenant.suspended", "tenant.activated", "tenant.deleted"]
    assert received_types(endpoint) == received_types(other_endpoint) == wanted
    assert [each.event for each in received_requests(endpoint)] == [
        each.event for each in received_requests(other_endpoint)
    ]
    ids = [each.headers["webhook-id"] for each in received_requests(endpoint)]
    assert ids == [each.headers["webhook-id"] for each in received_requests(other_endpoint)]


def test_a_tenant_cannot_tell_in_anothers_name(
    acme: Tenant, globex: Tenant, platform: Platform, endpoint: HttpReceiver
) -> None:
    webhook = _register(platform, endpoint)
    said = f'{{"type": "call.ended", "data": {{"tenant_id": "{globex.id}"}}}}'

    with tenant_session(acme.ref) as session:
        session.execute(text(TELL), {"id": uuid4(), "payload": said})

    [delivery] = _deliveries(platform, webhook)
    assert delivery["payload"]["data"]["tenant_id"] == acme.id


def test_an_endpoint_that_is_given_up_is_told_to_the_others(
    acme: Tenant,
    platform: Platform,
    world: Factory,
    endpoint: HttpReceiver,
    other_endpoint: HttpReceiver,
) -> None:
    endpoint.behaviour = reply_with_status(410)
    gone = _register(platform, endpoint)
    _register(platform, other_endpoint, events=["webhook.disabled"])
    emit_event(acme)

    world.run_platform_jobs()

    shown = platform.api.get(f"{URL}/{gone['id']}").json
    assert (shown["is_active"], shown["disabled_reason"]) == (False, "gone")
    [notice] = received_requests(other_endpoint)
    assert notice.event["data"] == {"webhook_id": gone["id"], "reason": "gone"}
    emit_event(acme)
    assert len(_deliveries(platform, gone)) == 1


def test_one_of_the_operators_is_changed_tested_rotated_sent_again_and_removed(
    acme: Tenant, platform: Platform, world: Factory, endpoint: HttpReceiver
) -> None:
    first = _register(platform, endpoint, is_active=False)
    url = f"{URL}/{first['id']}"
    assert platform.api.post(f"{url}/test").json["code"] == "webhook-disabled"
    assert platform.api.patch(url, {"is_active": True, "events": ["call.ended"]}).json["is_active"]
    assert [each["id"] for each in platform.api.get(URL).json] == [first["id"]]

    tested = platform.api.post(f"{url}/test").json
    second = platform.api.post(f"{url}/rotate-secret").json
    world.run_platform_jobs()
    replayed = platform.api.post(f"{url}/deliveries/{tested['id']}/replay")
    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    again = platform.api.post(f"{url}/replay", period)
    world.run_platform_jobs()

    assert (replayed.status_code, again.json) == (202, {"deliveries": 1})
    assert received_types(endpoint) == ["webhook.test"] * 2
    for each in received_requests(endpoint):
        assert each.is_signed_with(first["secret"])
        assert each.is_signed_with(second["secret"])
    assert platform.api.delete(url).status_code == 204
    assert platform.api.get(f"{url}/deliveries").status_code == 404


def test_a_secret_of_the_operators_is_no_tenants(
    acme: Tenant, platform: Platform, endpoint: HttpReceiver
) -> None:
    webhook = _register(platform, endpoint)
    with public_session() as session:
        row = session.get_one(PlatformWebhook, UUID(webhook["id"]))
        assert endpoints.signing_secrets(PLATFORM_SCOPE, row, now=row.created_at) == [
            webhook["secret"]
        ]

        elsewhere = encryption.EncryptionContext(UUID(acme.id), "webhooks", row.id, "secret")
        with pytest.raises(DecryptionError):
            encryption.current_keyring().decrypt(bytes(row.secret), elsewhere)


def test_what_the_operator_was_told_is_forgotten_after_thirty_days(
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


def test_an_erasure_is_told(
    tenants_cli: TenantsCli, template_world: Factory, endpoint: HttpReceiver
) -> None:
    platform, tenant = template_world.platform(), template_world.tenant("Acme")
    _register(platform, endpoint)

    tenants_cli.invoke_json("erase", tenant.id, "--yes")
    template_world.run_platform_jobs()

    [sent] = received_requests(endpoint)
    assert (sent.event["type"], sent.event["data"]["tenant_id"]) == ("tenant.deleted", tenant.id)
