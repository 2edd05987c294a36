"""WebRTC credentials, with which a browser calls through the carrier of a phone number."""

from typing import Any

import pytest
import structlog
from flask import Flask

from tests.support.accounts import TOKEN, WebRtcCarrier, create_account
from tests.support.api import ApiResponse
from tests.support.factories import Factory, Platform, Tenant
from tests.support.services import app_services, use_carriers
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

URL = "/webrtc/credentials"


@pytest.fixture
def webrtc_carrier(app: Flask, settings: Settings) -> WebRtcCarrier:
    """Install a carrier with WebRTC support as the deployment's carrier, and return it."""
    adapter = WebRtcCarrier(f"fake-carrier|{settings.secret_key}")
    use_carriers(providers.Carriers(settings)).register(adapter)
    return adapter


def _credential_requests(carrier: FakeTelephonyAdapter) -> list[dict[str, Any]]:
    return [
        arguments for operation, arguments in carrier.operations if operation == "webrtc_credential"
    ]


def test_the_numbers_carrier_issues_a_webrtc_credential_for_one_hour(
    acme: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    number = acme.number()

    responses = [acme.post(URL, {"phone_number_id": number["id"]}) for _ in range(2)]

    first, second = (response.json for response in responses)
    assert [response.status_code for response in responses] == [201, 201]
    assert (first["token"], first["provider_type"]) == (TOKEN, "fake")
    assert first["identity"] != second["identity"]
    assert [request["ttl_s"] for request in _credential_requests(webrtc_carrier)] == [3600, 3600]
    assert _credential_requests(webrtc_carrier)[0]["did_number"] == number["did_number"]


def test_a_number_on_an_account_gets_its_credential_from_that_account(
    acme: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    own_account = create_account(acme)
    number = acme.number(**own_account.number_fields)

    acme.post(URL, {"phone_number_id": number["id"]})

    assert len(_credential_requests(own_account.carrier)) == 1
    assert _credential_requests(webrtc_carrier) == []


def test_the_token_is_neither_audited_nor_logged(
    acme: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    number = acme.number()

    with structlog.testing.capture_logs() as log_lines:
        acme.post(URL, {"phone_number_id": number["id"]})

    audit_response = acme.get("/audit")
    assert audit_response.json[0]["operation"] == "create_webrtc_credential"
    assert audit_response.json[0]["object_id"] == number["id"]
    assert TOKEN not in audit_response.text
    assert TOKEN not in str(log_lines)


def test_a_carrier_without_webrtc_support_returns_409(
    acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    response = acme.post(URL, {"phone_number_id": acme.number()["id"]})

    assert (response.status_code, response.json["code"]) == (409, "carrier-cannot")


def test_an_unusable_number_is_rejected_before_a_carrier_request(
    acme: Tenant, globex: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    inactive_number, foreign_number = acme.number(is_active=False), globex.number()

    inactive = acme.post(URL, {"phone_number_id": inactive_number["id"]})
    foreign = acme.post(URL, {"phone_number_id": foreign_number["id"]})
    app_services().carriers.default = None
    unconfigured = acme.post(URL, {"phone_number_id": acme.number()["id"]})

    assert (inactive.status_code, inactive.json["code"]) == (409, "number-inactive")
    assert (foreign.status_code, foreign.json["errors"][0]["pointer"]) == (400, "/phone_number_id")
    assert (unconfigured.status_code, unconfigured.json["code"]) == (409, "carrier-not-configured")
    assert _credential_requests(webrtc_carrier) == []


def test_an_account_that_is_not_set_up_for_webrtc_returns_409(
    acme: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    number = acme.number()
    webrtc_carrier.fail_next(TelephonyError("no API key", permanent=True, code="not-set-up"))

    response = acme.post(URL, {"phone_number_id": number["id"]})

    assert (response.status_code, response.json["code"]) == (409, "carrier-cannot")


def test_a_failing_carrier_returns_502_and_writes_no_audit_entry(
    acme: Tenant, platform: Platform, webrtc_carrier: WebRtcCarrier
) -> None:
    number = acme.number()
    audit_entries = acme.get("/audit").json
    webrtc_carrier.fail_next(TelephonyError("away", permanent=False))

    response = acme.post(URL, {"phone_number_id": number["id"]})

    assert (response.status_code, response.json["code"]) == (502, "carrier-failed")
    assert acme.get("/audit").json == audit_entries


# --- The permission to dial ---


@pytest.fixture
def number_id(acme: Tenant) -> str:
    number_id: str = acme.number()["id"]
    return number_id


def _assert_refused(response: ApiResponse, carrier: WebRtcCarrier, code: str) -> None:
    assert (response.status_code, response.json["code"]) == (409, code)
    assert _credential_requests(carrier) == []


@pytest.mark.parametrize("arguments", [(), ("--tenant",)])
def test_a_freeze_reaches_browsers(
    app: Flask,
    acme: Tenant,
    webrtc_carrier: WebRtcCarrier,
    number_id: str,
    arguments: tuple[str, ...],
) -> None:
    tenant_arguments = [*arguments, acme.id] if arguments else []
    try:
        app.test_cli_runner().invoke(args=["dialling", "freeze", *tenant_arguments])
        response = acme.post(URL, {"phone_number_id": number_id})
    finally:
        app.test_cli_runner().invoke(args=["dialling", "resume", *tenant_arguments])

    _assert_refused(response, webrtc_carrier, "dialling-refused")
    assert "(frozen)" in response.json["detail"]


@pytest.mark.parametrize(
    ("policy", "ceiling"),
    [({"countries": []}, None), ({}, {"countries": []}), ({}, {"countries": ["US"]})],
)
def test_a_tenant_that_may_dial_nothing_gets_no_credential(
    acme: Tenant,
    platform: Platform,
    webrtc_carrier: WebRtcCarrier,
    number_id: str,
    policy: dict[str, Any],
    ceiling: dict[str, Any] | None,
) -> None:
    acme.patch("/settings", {"dial_policy": policy})
    platform.api.patch(acme.url("/settings"), {"limits": {"dialling": ceiling}})

    response = acme.post(URL, {"phone_number_id": number_id})

    _assert_refused(response, webrtc_carrier, "dialling-refused")
    assert "(country)" in response.json["detail"]


def test_a_suspended_tenant_gets_no_credential(
    acme: Tenant, platform: Platform, webrtc_carrier: WebRtcCarrier, number_id: str
) -> None:
    platform.api.patch(acme.url(), {"status": "suspended"})

    response = platform.api.post(acme.url(URL), {"phone_number_id": number_id})

    _assert_refused(response, webrtc_carrier, "dialling-refused")


def test_a_reached_spend_cap_gives_no_credential(
    world: Factory, acme: Tenant, webrtc_carrier: WebRtcCarrier, number_id: str
) -> None:
    world.sql(acme, "UPDATE settings SET spend_cap = 0")

    response = acme.post(URL, {"phone_number_id": number_id})

    _assert_refused(response, webrtc_carrier, "spend-cap-reached")
