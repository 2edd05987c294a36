"""Phone numbers: claimed, changed, and registered at their carrier by jobs."""

from typing import Any
from uuid import UUID

import pytest

from tests.fakes.http_receiver import HttpReceiver
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.webhooks import receiver_url
from vca.kit import clock
from vca.kit.encryption import DecryptionError
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import decision_webhook
from vca.tenant.phone_numbers.models import PhoneNumber


def _registration(tenant: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"/phone-numbers/{number['id']}").json["registration"]
    return found


def _registry_says(platform: Platform, number: dict[str, Any]) -> str:
    found: str = platform.api.get("/api/dids", did_number=number["did_number"]).json[0][
        "registration_status"
    ]
    return found


def test_a_new_number_is_registered_by_a_job(
    acme: Tenant, world: Factory, platform: Platform, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    assert number["registration"]["status"] == "pending"

    world.run_jobs(acme)

    assert _registration(acme, number)["status"] == "registered"
    assert _registration(acme, number)["checked_at"] is not None
    assert _registry_says(platform, number) == "registered"
    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}


def test_deactivating_unregisters_and_reactivating_registers(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", {"is_active": False})
    world.run_jobs(acme)
    assert _registration(acme, number)["status"] == "unregistered"
    assert carrier.registered_numbers == {}

    acme.patch(f"/phone-numbers/{number['id']}", {"is_active": True})
    world.run_jobs(acme)
    assert _registration(acme, number)["status"] == "registered"


def test_deleting_unregisters(acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter) -> None:
    number = acme.number()
    world.run_jobs(acme)

    acme.delete(f"/phone-numbers/{number['id']}")
    world.run_jobs(acme)

    assert carrier.registered_numbers == {}
    assert acme.get(f"/phone-numbers/{number['id']}").status_code == 404


def test_a_pause_keeps_the_registration(acme: Tenant, world: Factory) -> None:
    number = acme.number()
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", {"mode": "closed"})

    assert world.run_jobs(acme) == []
    assert _registration(acme, number)["status"] == "registered"


def test_a_passing_failure_is_tried_again_later(
    acme: Tenant, world: Factory, platform: Platform, carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("timed out", permanent=False, code="timeout"))
    number = acme.number()

    world.run_jobs(acme)
    waiting = _registration(acme, number)
    world.run_jobs(acme, include_scheduled=True)

    assert (waiting["status"], waiting["code"]) == ("pending", "timeout")
    assert waiting["next_attempt_at"] > waiting["checked_at"]
    assert _registration(acme, number)["status"] == "registered"
    assert _registry_says(platform, number) == "registered"


def test_a_permanent_failure_is_not_tried_again_until_asked(
    acme: Tenant, world: Factory, platform: Platform, carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("no such number", permanent=True, code="21421"))
    number = acme.number()
    world.run_jobs(acme)

    failed = _registration(acme, number)
    assert (failed["status"], failed["code"], failed["next_attempt_at"]) == (
        "failed",
        "21421",
        None,
    )
    assert _registry_says(platform, number) == "failed"
    assert world.run_jobs(acme, include_scheduled=True) == []

    again = acme.post(f"/phone-numbers/{number['id']}/register")
    world.run_jobs(acme)
    assert (again.status_code, again.json["registration"]["status"]) == (202, "pending")
    assert _registration(acme, number)["status"] == "registered"


def test_asking_again_overtakes_a_waiting_retry(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("timed out", permanent=False))
    number = acme.number()
    world.run_jobs(acme)

    acme.post(f"/phone-numbers/{number['id']}/register")
    world.run_jobs(acme)
    asked = len(carrier.operations)
    world.run_jobs(acme, include_scheduled=True)

    assert _registration(acme, number)["status"] == "registered"
    assert len(carrier.operations) == asked


def test_an_inactive_number_is_not_registered_on_request(acme: Tenant, world: Factory) -> None:
    number = acme.number(is_active=False)
    world.run_jobs(acme)

    refused = acme.post(f"/phone-numbers/{number['id']}/register")

    assert (refused.status_code, refused.json["code"]) == (409, "number-inactive")


def test_a_registration_that_comes_after_the_number_was_deleted_is_undone(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = acme.number()
    register = carrier.register_number

    def delete_meanwhile(*args: Any) -> None:
        register(*args)
        acme.delete(f"/phone-numbers/{number['id']}")

    monkeypatch.setattr(carrier, "register_number", delete_meanwhile)
    world.run_jobs(acme)

    assert carrier.registered_numbers == {}


def test_without_a_carrier_registration_fails_with_the_reason(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    providers.current_carriers().default = None

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
def test_a_bad_field_is_named_and_nothing_is_kept(
    acme: Tenant, platform: Platform, field: str, value: object
) -> None:
    number = fresh_number()

    refused = acme.post("/phone-numbers", {"did_number": number, field: value})

    assert refused.status_code == 400
    assert refused.json["errors"][0]["pointer"] == f"/{field}"
    assert acme.get("/phone-numbers").json == []
    assert platform.api.get("/api/dids", did_number=number).json == []


def test_a_forwarding_number_needs_a_target_other_than_itself(acme: Tenant) -> None:
    number = acme.number()
    one = f"/phone-numbers/{number['id']}"

    without = acme.patch(one, {"mode": "forward"})
    itself = acme.patch(one, {"mode": "forward", "forward_to": number["did_number"]})
    good = acme.patch(one, {"mode": "forward", "forward_to": fresh_number()})

    assert without.json["errors"][0]["pointer"] == "/forward_to"
    assert itself.json["errors"][0]["pointer"] == "/forward_to"
    assert good.json["mode"] == "forward"


def test_a_number_cannot_change_which_number_it_is(acme: Tenant) -> None:
    number = acme.number()

    refused = acme.patch(f"/phone-numbers/{number['id']}", {"did_number": fresh_number()})

    assert refused.json["errors"][0]["pointer"] == "/did_number"


def test_moving_to_another_carrier_leaves_the_old_one_when_it_is_released(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    class Other(FakeTelephonyAdapter):
        name = "other"

    other = Other()
    providers.current_carriers()._adapters["other"] = other
    number = acme.number(provider_type="fake")
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", {"provider_type": "other"})
    world.run_jobs(acme)
    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    acme.post(f"/phone-numbers/{number['id']}/release-previous-carrier")
    world.run_jobs(acme)

    assert carrier.registered_numbers == {}
    assert other.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _registration(acme, number)["status"] == "registered"


# --- Who decides about its calls -----------------------------------------------------------------


def test_a_decision_webhook_is_set_shown_and_removed_and_its_secret_is_shown_once(
    acme: Tenant, endpoint: HttpReceiver
) -> None:
    number, url = acme.number(), receiver_url(endpoint)
    path = f"/phone-numbers/{number['id']}"
    assert number["decision_url"] is None

    first = acme.post(f"{path}/decision-webhook", {"url": url}).json
    second = acme.post(f"{path}/decision-webhook", {"url": url}).json

    assert first.keys() == {"url", "secret"}
    assert first["secret"] != second["secret"]
    shown = acme.get(path)
    assert shown.json["decision_url"] == url
    assert "whsec_" not in shown.text
    assert acme.delete(f"{path}/decision-webhook").status_code == 204
    assert acme.get(path).json["decision_url"] is None


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "ftp://example.com/", "https://127.0.0.1/", "https://[::1]/", "x"]
)
def test_a_decision_webhook_that_leads_nowhere_public_is_refused_when_saved(
    acme: Tenant, url: str
) -> None:
    number = acme.number()

    answer = acme.post(f"/phone-numbers/{number['id']}/decision-webhook", {"url": url})

    assert answer.status_code == 400
    assert answer.json["errors"][0]["pointer"] == "/url"
    assert acme.get(f"/phone-numbers/{number['id']}").json["decision_url"] is None


def test_a_decision_webhook_is_for_keys_that_may_administer(
    acme: Tenant, world: Factory, endpoint: HttpReceiver
) -> None:
    number = acme.number()
    writer = world.api(world.key(acme.id, scopes=["read", "write"]))
    path = acme.url(f"/phone-numbers/{number['id']}/decision-webhook")

    assert writer.post(path, {"url": receiver_url(endpoint)}).status_code == 403
    assert writer.delete(path).status_code == 403


def test_the_secret_of_a_decision_webhook_is_sealed_for_its_place(
    acme: Tenant, endpoint: HttpReceiver
) -> None:
    number, other = acme.number(), acme.number()
    path = f"/phone-numbers/{number['id']}/decision-webhook"
    secret = acme.post(path, {"url": receiver_url(endpoint)}).json["secret"]
    with tenant_session(acme.ref) as session:
        sealed = session.get_one(PhoneNumber, UUID(number["id"])).decision_secret
    assert sealed is not None
    kept = {"tenant_id": acme.ref.id, "now": clock.now()}

    signing = decision_webhook.signing_secrets(sealed, phone_number_id=UUID(number["id"]), **kept)

    assert signing == (secret,)
    assert secret.encode() not in sealed
    with pytest.raises(DecryptionError):
        decision_webhook.signing_secrets(sealed, phone_number_id=UUID(other["id"]), **kept)


def test_for_a_day_the_secret_before_signs_too(acme: Tenant, endpoint: HttpReceiver) -> None:
    number_id = UUID(acme.number()["id"])
    path = f"/phone-numbers/{number_id}/decision-webhook"
    old, new = (acme.post(path, {"url": receiver_url(endpoint)}).json["secret"] for _ in range(2))
    with tenant_session(acme.ref) as session:
        sealed = session.get_one(PhoneNumber, number_id).decision_secret
    assert sealed is not None
    known = {"tenant_id": acme.ref.id, "phone_number_id": number_id}

    now = clock.now()
    later = now + decision_webhook.OVERLAP

    assert decision_webhook.signing_secrets(sealed, **known, now=now) == (new, old)
    assert decision_webhook.signing_secrets(sealed, **known, now=later) == (new,)
