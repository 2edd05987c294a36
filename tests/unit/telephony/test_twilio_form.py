"""Tests of the parser for Twilio's forms, which ignores most fields, and of their signatures."""

from dataclasses import replace
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from tests.contract.suites.telephony import CALLER, NUMBER
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN, callback_url
from tests.fakes.carriers.twilio.webhooks import sign_body, signed_request
from tests.unit.telephony.test_twilio_webhooks import ADAPTER, SIGNATURE, TURN, genuine_request
from vca.telephony.adapter import InvalidCarrierRequest, InvalidCarrierSignature
from vca.telephony.types import Caller


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(fields=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=8))
def test_forms_of_text_are_verified_as_the_sdk_signs_them(fields: dict[str, str]) -> None:
    form = {**fields, "CallSid": f"CA{7:032x}", "To": NUMBER, "From": CALLER}
    request = signed_request(ACCOUNT_LOGIN, TURN, {**form, "AccountSid": ACCOUNT_LOGIN.account_sid})

    ADAPTER.verify(request)

    with pytest.raises(InvalidCarrierSignature):
        ADAPTER.verify(replace(request, body=request.body + b"&x=1"))


def test_repeated_values_are_verified_as_the_sdk_signs_them() -> None:
    class Fields(dict[str, list[str]]):
        def getall(self, name: str) -> list[str]:
            return self[name]

    values = {"AccountSid": [ACCOUNT_LOGIN.account_sid], "SipHeader_X-Tag": ["b", "a", "b", "é"]}
    signature = RequestValidator(ACCOUNT_LOGIN.auth_token).compute_signature(TURN, Fields(values))
    request = genuine_request()
    headers = {**request.headers, SIGNATURE: signature}

    ADAPTER.verify(replace(request, body=urlencode(values, doseq=True).encode(), headers=headers))


@pytest.mark.parametrize(
    "field",
    [
        "CallSid=CA00000000000000000000000000000007",
        "To=%2B14155550100",
        "SpeechResult=Bye",
        "Digits=1&Digits=2",
        "Digits=%ff",
        "SpeechResult=%ff",
        "Direction=outbound-api&Direction=inbound",
    ],
)
def test_a_repeated_or_unreadable_field_that_is_read_is_rejected(field: str) -> None:
    request = genuine_request()
    body = request.body + b"&" + field.encode()

    with pytest.raises(InvalidCarrierRequest):
        ADAPTER.parse(sign_body(ACCOUNT_LOGIN, replace(request, body=body)))


@pytest.mark.parametrize(
    "caller", [b"From=%ff", b"From=%00", b"From=a&From=b", b"From=" + b"x" * 999]
)
def test_a_call_with_an_unreadable_caller_is_answered(caller: bytes) -> None:
    request = genuine_request(callback_url("voice"), From=None)
    signed = sign_body(ACCOUNT_LOGIN, replace(request, body=request.body + b"&" + caller))

    ADAPTER.verify(signed)

    assert ADAPTER.parse(signed).caller == Caller(None, "other")
