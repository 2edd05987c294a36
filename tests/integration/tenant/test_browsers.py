"""A browser calls through a number's carrier, if that carrier knows browsers."""

from typing import Any

import pytest
import structlog
from flask import Flask

from tests.support.accounts import TOKEN, WebRtcCarrier, create_account
from tests.support.factories import Platform, Tenant
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

URL = "/webrtc/credentials"


@pytest.fixture
def webrtc_carrier(app: Flask, settings: Settings) -> WebRtcCarrier:
    """The deployment's carrier."""
    fresh = WebRtcCarrier(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(fresh)
    return fresh


def _asked(carrier: FakeTelephonyAdapter) -> list[dict[str, Any]]:
    return [how for what, how in carrier.operations if what == "webrtc_credential"]


def test_a_browser_gets_a_credential_of_an_hour_from_the_numbers_carrier(
    acme: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    number = acme.number()

    answers = [acme.post(URL, {"phone_number_id": number["id"]}) for _ in range(2)]

    first, second = (answer.json for answer in answers)
    assert [answer.status_code for answer in answers] == [201, 201]
    assert (first["token"], first["provider_type"]) == (TOKEN, "fake")
    assert first["identity"] != second["identity"]
    assert [how["ttl_s"] for how in _asked(webrtc_carrier)] == [3600, 3600]
    assert _asked(webrtc_carrier)[0]["did_number"] == number["did_number"]


def test_a_number_on_an_account_gets_it_there(acme: Tenant, webrtc_carrier: WebRtcCarrier) -> None:
    own = create_account(acme)
    number = acme.number(**own.number_fields)

    acme.post(URL, {"phone_number_id": number["id"]})

    assert len(_asked(own.carrier)) == 1
    assert _asked(webrtc_carrier) == []


def test_the_token_is_neither_audited_nor_logged(
    acme: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    number = acme.number()

    with structlog.testing.capture_logs() as logged:
        acme.post(URL, {"phone_number_id": number["id"]})

    told = acme.get("/audit")
    assert told.json[0]["operation"] == "create_webrtc_credential"
    assert told.json[0]["object_id"] == number["id"]
    assert TOKEN not in told.text
    assert TOKEN not in str(logged)


def test_a_carrier_that_knows_no_browsers_is_409(
    acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    refused = acme.post(URL, {"phone_number_id": acme.number()["id"]})

    assert (refused.status_code, refused.json["code"]) == (409, "carrier-cannot")


def test_what_cannot_be_is_refused_before_the_carrier_is_asked(
    acme: Tenant, globex: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    off, theirs = acme.number(is_active=False), globex.number()

    inactive = acme.post(URL, {"phone_number_id": off["id"]})
    foreign = acme.post(URL, {"phone_number_id": theirs["id"]})
    providers.current_carriers().default = None
    none = acme.post(URL, {"phone_number_id": acme.number()["id"]})

    assert (inactive.status_code, inactive.json["code"]) == (409, "number-inactive")
    assert (foreign.status_code, foreign.json["errors"][0]["pointer"]) == (400, "/phone_number_id")
    assert (none.status_code, none.json["code"]) == (409, "carrier-not-configured")
    assert _asked(webrtc_carrier) == []


def test_an_account_that_lacks_what_browsers_take_is_409(
    acme: Tenant, webrtc_carrier: WebRtcCarrier
) -> None:
    number = acme.number()
    webrtc_carrier.fail_next(TelephonyError("no API key", permanent=True, code="not-set-up"))

    refused = acme.post(URL, {"phone_number_id": number["id"]})

    assert (refused.status_code, refused.json["code"]) == (409, "carrier-cannot")


def test_a_carrier_that_fails_is_502_and_no_deed(
    acme: Tenant, platform: Platform, webrtc_carrier: WebRtcCarrier
) -> None:
    number = acme.number()
    told = acme.get("/audit").json
    webrtc_carrier.fail_next(TelephonyError("away", permanent=False))

    failed = acme.post(URL, {"phone_number_id": number["id"]})

    assert (failed.status_code, failed.json["code"]) == (502, "carrier-failed")
    assert acme.get("/audit").json == told
