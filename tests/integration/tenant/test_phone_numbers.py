"""Tests of phone numbers: creation, changes, registration by jobs, and decision webhooks."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from tests.fakes.http_receiver import HttpReceiver
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.locks import open_transaction, waiting_pids
from tests.support.processes import wait_until
from tests.support.services import app_services
from tests.support.webhooks import receiver_url
from vca.kit import clock
from vca.kit.encryption import DecryptionError
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import decision_webhook
from vca.tenant.phone_numbers.models import PhoneNumber


def _get_registration(tenant: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    registration: dict[str, Any] = tenant.get(f"/phone-numbers/{number['id']}").json["registration"]
    return registration


def _get_registry_status(platform: Platform, number: dict[str, Any]) -> str:
    status: str = platform.api.get("/api/dids", did_number=number["did_number"]).json[0][
        "registration_status"
    ]
    return status


def test_a_new_number_is_registered_by_a_job(
    acme: Tenant, world: Factory, platform: Platform, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    assert number["registration"]["status"] == "pending"

    world.run_jobs(acme)

    assert _get_registration(acme, number)["status"] == "registered"
    assert _get_registration(acme, number)["checked_at"] is not None
    assert _get_registry_status(platform, number) == "registered"
    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}


def test_deactivating_unregisters_and_reactivating_registers(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", {"is_active": False})
    world.run_jobs(acme)
    assert _get_registration(acme, number)["status"] == "unregistered"
    assert carrier.registered_numbers == {}

    acme.patch(f"/phone-numbers/{number['id']}", {"is_active": True})
    world.run_jobs(acme)
    assert _get_registration(acme, number)["status"] == "registered"


def test_deleting_unregisters(acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter) -> None:
    number = acme.number()
    world.run_jobs(acme)

    acme.delete(f"/phone-numbers/{number['id']}")
    world.run_jobs(acme)

    assert carrier.registered_numbers == {}
    assert acme.get(f"/phone-numbers/{number['id']}").status_code == 404


def test_closing_a_number_does_not_change_its_registration(acme: Tenant, world: Factory) -> None:
    number = acme.number()
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", {"mode": "closed"})

    assert world.run_jobs(acme) == []
    assert _get_registration(acme, number)["status"] == "registered"


def test_a_temporary_failure_is_retried_later(
    acme: Tenant, world: Factory, platform: Platform, carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("timed out", permanent=False, code="timeout"))
    number = acme.number()

    world.run_jobs(acme)
    pending = _get_registration(acme, number)
    world.run_jobs(acme, include_scheduled=True)

    assert (pending["status"], pending["code"]) == ("pending", "timeout")
    assert pending["next_attempt_at"] > pending["checked_at"]
    assert _get_registration(acme, number)["status"] == "registered"
    assert _get_registry_status(platform, number) == "registered"


def test_a_permanent_failure_is_retried_only_on_request(
    acme: Tenant, world: Factory, platform: Platform, carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("no such number", permanent=True, code="21421"))
    number = acme.number()
    world.run_jobs(acme)

    failed = _get_registration(acme, number)
    assert (failed["status"], failed["code"], failed["next_attempt_at"]) == (
        "failed",
        "21421",
        None,
    )
    assert _get_registry_status(platform, number) == "failed"
    assert world.run_jobs(acme, include_scheduled=True) == []

    response = acme.post(f"/phone-numbers/{number['id']}/register")
    world.run_jobs(acme)
    assert (response.status_code, response.json["registration"]["status"]) == (202, "pending")
    assert _get_registration(acme, number)["status"] == "registered"


def test_a_registration_request_replaces_the_scheduled_retry(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("timed out", permanent=False))
    number = acme.number()
    world.run_jobs(acme)

    acme.post(f"/phone-numbers/{number['id']}/register")
    world.run_jobs(acme)
    operation_count = len(carrier.operations)
    world.run_jobs(acme, include_scheduled=True)

    assert _get_registration(acme, number)["status"] == "registered"
    assert len(carrier.operations) == operation_count


def test_an_inactive_number_is_not_registered_on_request(acme: Tenant, world: Factory) -> None:
    number = acme.number(is_active=False)
    world.run_jobs(acme)

    response = acme.post(f"/phone-numbers/{number['id']}/register")

    assert (response.status_code, response.json["code"]) == (409, "number-inactive")


def test_a_registration_that_ends_after_the_deletion_is_reverted(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = acme.number()
    register_number = carrier.register_number

    def register_and_delete(*arguments: Any) -> None:
        register_number(*arguments)
        acme.delete(f"/phone-numbers/{number['id']}")

    monkeypatch.setattr(carrier, "register_number", register_and_delete)
    world.run_jobs(acme)

    assert carrier.registered_numbers == {}


def test_without_a_carrier_registration_fails_with_the_reason(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    app_services().carriers.default = None

    number = acme.number()

    assert number["registration"]["status"] == "failed"
    assert number["registration"]["detail"] == "no carrier configured"
    assert world.run_jobs(acme) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("did_number", "+1415555010"),
        ("did_number", "4155550100"),
        ("did_number", "+1 415 555 0100"),
        ("did_number", "+١٤١٥٥٥٥٠١٠٠"),
        ("did_number", "+14155550100\u0000"),
        ("did_number", "+99999999999"),
        ("provider_type", "twilio"),
        ("provider_type", ""),
        ("mode", "sleep"),
        ("forward_to", "911"),
        ("ai_profile_id", "00000000-0000-4000-8000-000000000000"),
        ("is_active", 1),
        ("id", "00000000-0000-4000-8000-000000000000"),
    ],
)
def test_an_invalid_field_is_named_and_no_number_is_created(
    acme: Tenant, platform: Platform, field: str, value: object
) -> None:
    number = fresh_number()

    response = acme.post("/phone-numbers", {"did_number": number, field: value})

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == f"/{field}"
    assert acme.get("/phone-numbers").json == []
    assert platform.api.get("/api/dids", did_number=number).json == []


def test_forward_mode_requires_a_target_other_than_the_number_itself(acme: Tenant) -> None:
    number = acme.number()
    path = f"/phone-numbers/{number['id']}"

    without_target = acme.patch(path, {"mode": "forward"})
    to_itself = acme.patch(path, {"mode": "forward", "forward_to": number["did_number"]})
    valid = acme.patch(path, {"mode": "forward", "forward_to": fresh_number()})

    assert without_target.json["errors"][0]["pointer"] == "/forward_to"
    assert to_itself.json["errors"][0]["pointer"] == "/forward_to"
    assert valid.json["mode"] == "forward"


def test_the_did_number_cannot_be_changed(acme: Tenant) -> None:
    number = acme.number()

    response = acme.patch(f"/phone-numbers/{number['id']}", {"did_number": fresh_number()})

    assert response.json["errors"][0]["pointer"] == "/did_number"


def test_moving_to_another_carrier_unregisters_the_old_one_at_its_release(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    class OtherCarrier(FakeTelephonyAdapter):
        name = "other"

    other_carrier = OtherCarrier()
    app_services().carriers._adapters["other"] = other_carrier
    number = acme.number(provider_type="fake")
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", {"provider_type": "other"})
    world.run_jobs(acme)
    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    acme.post(f"/phone-numbers/{number['id']}/release-previous-carrier")
    world.run_jobs(acme)

    assert carrier.registered_numbers == {}
    assert other_carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _get_registration(acme, number)["status"] == "registered"


# --- Decision webhooks ---------------------------------------------------------------------------


def test_only_the_creation_of_a_decision_webhook_returns_its_secret(
    acme: Tenant, endpoint: HttpReceiver
) -> None:
    number, url = acme.number(), receiver_url(endpoint)
    path = f"/phone-numbers/{number['id']}"
    assert number["decision_url"] is None

    first = acme.post(f"{path}/decision-webhook", {"url": url}).json
    second = acme.post(f"{path}/decision-webhook", {"url": url}).json

    assert first.keys() == {"url", "secret"}
    assert first["secret"] != second["secret"]
    response = acme.get(path)
    assert response.json["decision_url"] == url
    assert "whsec_" not in response.text
    assert acme.delete(f"{path}/decision-webhook").status_code == 204
    assert acme.get(path).json["decision_url"] is None


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "ftp://example.com/", "https://127.0.0.1/", "https://[::1]/", "x"]
)
def test_a_decision_webhook_with_a_non_public_url_is_rejected(acme: Tenant, url: str) -> None:
    number = acme.number()

    response = acme.post(f"/phone-numbers/{number['id']}/decision-webhook", {"url": url})

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == "/url"
    assert acme.get(f"/phone-numbers/{number['id']}").json["decision_url"] is None


def test_a_decision_webhook_requires_the_admin_scope(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    number = acme.number()
    write_client = world.api(world.key(acme.id, scopes=["read", "write"]))
    path = acme.url(f"/phone-numbers/{number['id']}/decision-webhook")

    assert write_client.post(path, {"url": receiver_url(endpoint)}).status_code == 403
    assert write_client.delete(path).status_code == 403


def test_a_decision_webhook_secret_is_encrypted_for_its_number(
    acme: Tenant, endpoint: HttpReceiver
) -> None:
    number, other_number = acme.number(), acme.number()
    path = f"/phone-numbers/{number['id']}/decision-webhook"
    secret = acme.post(path, {"url": receiver_url(endpoint)}).json["secret"]
    with tenant_session(acme.ref, database=app_services().database) as session:
        encrypted = session.get_one(PhoneNumber, UUID(number["id"])).decision_secret
    assert encrypted is not None
    decrypt = partial(
        decision_webhook.signing_secrets, encrypted, tenant_id=acme.ref.id, now=clock.now()
    )

    secrets = decrypt(phone_number_id=UUID(number["id"]), services=app_services())

    assert secrets == (secret,)
    assert secret.encode() not in encrypted
    with pytest.raises(DecryptionError):
        decrypt(phone_number_id=UUID(other_number["id"]), services=app_services())


def test_the_previous_secret_signs_for_one_day_after_a_rotation(
    acme: Tenant, endpoint: HttpReceiver
) -> None:
    number_id = UUID(acme.number()["id"])
    path = f"/phone-numbers/{number_id}/decision-webhook"
    old_secret, new_secret = (
        acme.post(path, {"url": receiver_url(endpoint)}).json["secret"] for _ in range(2)
    )
    with tenant_session(acme.ref, database=app_services().database) as session:
        encrypted = session.get_one(PhoneNumber, number_id).decision_secret
    assert encrypted is not None
    decrypt = partial(
        decision_webhook.signing_secrets,
        encrypted,
        tenant_id=acme.ref.id,
        phone_number_id=number_id,
    )

    now = clock.now()
    after_overlap = now + decision_webhook.OVERLAP

    assert decrypt(now=now, services=app_services()) == (new_secret, old_secret)
    assert decrypt(now=after_overlap, services=app_services()) == (new_secret,)


@pytest.mark.parametrize("change", [{"ai_profile_id": None}, {"provider_type": "fake"}], ids=str)
def test_a_number_that_gets_a_profile_waits_for_changes_of_profiles(
    acme: Tenant, database_url: str, change: dict[str, Any]
) -> None:
    """Neither would see the other change, so a target could be saved that cannot be dialled."""
    acme.profile()
    number = acme.number(ai_profile_id=acme.profile()["id"])
    profile_change = f'SELECT FROM "{acme.ref.schema}".settings FOR UPDATE'

    with (
        open_transaction(database_url, profile_change) as connection,
        ThreadPoolExecutor(1) as executor,
    ):
        response = executor.submit(acme.patch, f"/phone-numbers/{number['id']}", change)
        wait_until(lambda: waiting_pids(connection) or response.done())
        is_waiting = not response.done()
        connection.rollback()

        assert is_waiting
        assert response.result().status_code == 200
