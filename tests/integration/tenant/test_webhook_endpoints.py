"""Tests of webhook endpoints: their secrets and URLs."""

import os
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from tests.fakes.http_receiver import HttpReceiver
from tests.integration.tenant.webhook_deliveries import MAKE_DUE, list_deliveries
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services, use_services
from tests.support.webhooks import (
    emit_event,
    received_requests,
    received_types,
    receiver_url,
    register_webhook,
    reply_with_status,
)
from vca.kit import encryption
from vca.kit.http import OutgoingClient, UrlPolicy
from vca.registry.caps import CAPS
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks.models import Webhook


def test_a_secret_is_returned_once_and_stored_encrypted(
    acme: Tenant, globex: Tenant, endpoint: HttpReceiver
) -> None:
    webhook = register_webhook(acme, endpoint)

    assert webhook["secret"].startswith("whsec_")
    assert "secret" not in acme.get(f"/webhooks/{webhook['id']}").json
    with tenant_session(acme.ref, database=app_services().database) as session:
        encrypted = bytes(session.scalars(select(Webhook.secret)).one())
    assert webhook["secret"].encode() not in encrypted
    context = encryption.EncryptionContext(UUID(acme.id), "webhooks", UUID(webhook["id"]), "secret")
    assert app_services().keyring.decrypt(encrypted, context) == webhook["secret"]
    other_context = encryption.EncryptionContext(
        UUID(globex.id), "webhooks", UUID(webhook["id"]), "secret"
    )
    with pytest.raises(encryption.DecryptionError):
        app_services().keyring.decrypt(encrypted, other_context)


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
    use_services(keyring=encryption.Keyring([os.urandom(32)]))
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
    for _ in range(CAPS["webhooks"].maximum):
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
    use_services(http_client=OutgoingClient(UrlPolicy(allow_http=True)))
    emit_event(acme)

    world.run_jobs(acme)

    assert "public" in list_deliveries(acme, webhook)[0]["attempts"][0]["error"]
    assert endpoint.is_unvisited()
