"""Calls through Twilio with unusual form fields: SIP domains, and fields that VCA never reads."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask

from tests.contract.suites.telephony import UNREAD_FIELDS
from tests.fakes.carriers.twilio.call import BASE_PATH, CALLER, send
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN, connected_twilio
from tests.fakes.carriers.twilio.webhooks import inbound_form, sign_body, signed_request
from tests.integration.calls.conftest import CallRecord
from tests.support.api import Api
from tests.support.factories import Tenant
from tests.support.services import use_carriers
from vca.settings import Settings
from vca.telephony import providers


@pytest.fixture
def number(app: Flask, settings: Settings, acme: Tenant) -> Iterator[str]:
    """Return a Twilio number whose agent greets the caller."""
    with connected_twilio() as twilio:
        use_carriers(providers.Carriers(settings)).register(twilio.adapter)
        acme.profile(greeting="Acme here.")
        number = str(acme.number(provider_type="twilio")["did_number"])
        twilio.account.add_number(number)
        yield number


@pytest.mark.parametrize(
    "uri",
    ["sip:{}@acme.sip.twilio.com", "sip:%2B{1}@acme.sip.twilio.com;transport=tls", "sip:{1}@acme"],
)
def test_a_call_to_a_twilio_sip_domain_is_answered(
    anonymous: Api, number: str, call_record: CallRecord, uri: str
) -> None:
    to = uri.format(number, number[1:])
    form = inbound_form(f"CA{9:032x}", to=to, caller=f"sip:{CALLER}@pbx.example.com:5060")
    form |= {"SipDomain": "acme.sip.twilio.com", "SipHeader_X-Name": "Jane"}

    response = send(anonymous, signed_request(ACCOUNT_LOGIN, f"{BASE_PATH}voice", form))

    assert "Acme here." in response.text
    assert call_record.call["called_number"] == number
    assert (call_record.call["caller_number"], call_record.call["caller_id"]) == (CALLER, "shown")


@pytest.mark.parametrize("fields", UNREAD_FIELDS.values(), ids=UNREAD_FIELDS)
def test_a_field_that_vca_does_not_read_cannot_fail_a_call(
    anonymous: Api, number: str, call_record: CallRecord, fields: bytes
) -> None:
    form = inbound_form(f"CA{9:032x}", to=number, caller=CALLER)
    request = signed_request(ACCOUNT_LOGIN, f"{BASE_PATH}voice", form)
    signed = sign_body(ACCOUNT_LOGIN, replace(request, body=request.body + b"&" + fields))

    response = send(anonymous, signed)
    forged_response = send(anonymous, replace(signed, body=request.body))

    assert response.status_code == 200
    assert "Acme here." in response.text
    assert call_record.call["caller_number"] == CALLER
    assert forged_response.status_code == 403
