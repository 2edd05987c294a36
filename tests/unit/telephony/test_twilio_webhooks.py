"""Tests of parsing and verifying Twilio's webhooks, and of forged requests."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from twilio.request_validator import HMAC_SHA256, RequestValidator

from tests.contract.suites.telephony import CALLBACK, CALLER, NUMBER, RECORDING, STATE, new_call_id
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    OTHER_LOGIN,
    STATE_SIGNER,
    callback_url,
)
from tests.fakes.carriers.twilio.webhooks import (
    inbound_form,
    outbound_form,
    signed_request,
)
from vca.kit import clock
from vca.telephony.adapter import InvalidCarrierRequest, InvalidCarrierSignature
from vca.telephony.providers.twilio import statuses
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import TwilioCredentials, TwilioUrls
from vca.telephony.types import Caller, CarrierRequest

ADAPTER = TwilioAdapter((ACCOUNT_LOGIN,), TwilioUrls(CALLBACK), state_signer=STATE_SIGNER)
SIGNATURE = "x-twilio-signature"
TURN = callback_url("turn", state=STATE, verb="gather")
Forgery = Callable[[CarrierRequest], CarrierRequest]


def genuine_request(
    url: str = TURN, login: TwilioCredentials = ACCOUNT_LOGIN, **fields: Any
) -> CarrierRequest:
    """Return the request that Twilio sends after an utterance of the caller."""
    form = inbound_form(f"CA{7:032x}", to=NUMBER, caller=CALLER)
    return signed_request(
        login, url, {**form, "SpeechResult": "Hello?", "Confidence": "0.9", **fields}
    )


def _replace_signature(sign: Callable[[CarrierRequest], str]) -> Forgery:
    return lambda request: replace(request, headers={**request.headers, SIGNATURE: sign(request)})


def _replace_fields(**changes: str | None) -> Forgery:
    """Replace fields of the body; None removes a field."""

    def forge(request: CarrierRequest) -> CarrierRequest:
        fields = {**dict(parse_qsl(request.body.decode())), **changes}
        remaining_fields = {name: text for name, text in fields.items() if text is not None}
        return replace(request, body=urlencode(remaining_fields).encode())

    return forge


def _replace_in_url(old: str, new: str) -> Forgery:

    def forge(request: CarrierRequest) -> CarrierRequest:
        assert old in request.url
        return replace(request, url=request.url.replace(old, new))

    return forge


def _change_body(change: Callable[[bytes], bytes]) -> Forgery:
    return lambda request: replace(request, body=change(request.body))


def _set_content_type(content_type: str) -> Forgery:
    headers = {"content-type": content_type}
    return lambda request: replace(request, headers={**request.headers, **headers})


def _form_fields(request: CarrierRequest) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode()))


def _send_signed_json(request: CarrierRequest) -> CarrierRequest:
    """Send JSON with Twilio's signature, which covers the URL with the hash of the body."""
    body = json.dumps(_form_fields(request)).encode()
    url = f"{request.url}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = RequestValidator(ACCOUNT_LOGIN.auth_token).compute_signature(url, {})
    headers = {"content-type": "application/json", SIGNATURE: signature}
    return replace(request, url=url, body=body, headers=headers)


def _sign_with_another_hash(request: CarrierRequest) -> CarrierRequest:
    validator = RequestValidator(ACCOUNT_LOGIN.auth_token)
    signature = validator.compute_signature(request.url, _form_fields(request), HMAC_SHA256)
    algorithm_header = {"x-twilio-webhooks-signature-settings": "key=k,algorithm=HMAC_SHA256"}
    return replace(request, headers={**request.headers, **algorithm_header, SIGNATURE: signature})


def _sign_text(token: str, text: str) -> str:
    mac = hmac.new(token.encode(), text.encode(), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()


FORGERIES: dict[str, Forgery] = {
    "no signature": lambda request: replace(
        request, headers={"content-type": request.headers["content-type"]}
    ),
    "an empty signature": _replace_signature(lambda request: ""),
    "a signature that is no base64": _replace_signature(lambda request: "☎" * 28),
    "a huge signature": _replace_signature(lambda request: "A" * 100_000),
    "a signature cut short": _replace_signature(lambda request: request.headers[SIGNATURE][:-1]),
    "a signature with a line's end": _replace_signature(
        lambda request: request.headers[SIGNATURE] + "\n"
    ),
    "a signature twice": _replace_signature(
        lambda request: ", ".join([request.headers[SIGNATURE]] * 2)
    ),
    "a signature in another case": _replace_signature(
        lambda request: request.headers[SIGNATURE].swapcase()
    ),
    "a signature in hex": _replace_signature(
        lambda request: base64.b64decode(request.headers[SIGNATURE]).hex(),
    ),
    "a signature of the URL alone": _replace_signature(
        lambda request: _sign_text(ACCOUNT_LOGIN.auth_token, request.url)
    ),
    "a signature of the body alone": _replace_signature(
        lambda request: _sign_text(ACCOUNT_LOGIN.auth_token, request.body.decode()),
    ),
    "a signature with an empty token": _replace_signature(
        lambda request: RequestValidator("").compute_signature(request.url, _form_fields(request)),
    ),
    "a signature by the account's own id": _replace_signature(
        lambda request: RequestValidator(ACCOUNT_LOGIN.account_sid).compute_signature(
            request.url, _form_fields(request)
        ),
    ),
    "a signature with a hash chosen by the sender": _sign_with_another_hash,
    "another account's request": lambda request: genuine_request(request.url, OTHER_LOGIN),
    "another account's token for this account": lambda request: genuine_request(
        request.url, TwilioCredentials(ACCOUNT_LOGIN.account_sid, OTHER_LOGIN.auth_token)
    ),
    "this account's token for another account": lambda request: genuine_request(
        request.url, TwilioCredentials(OTHER_LOGIN.account_sid, ACCOUNT_LOGIN.auth_token)
    ),
    "no account": lambda request: genuine_request(request.url, AccountSid=None),
    "two accounts": _change_body(
        lambda body: body + f"&AccountSid={ACCOUNT_LOGIN.account_sid}".encode()
    ),
    "an unsigned account": _replace_fields(AccountSid=OTHER_LOGIN.account_sid),
    "http": _replace_in_url("https://", "http://"),
    "another host": _replace_in_url("voice.example.com", "voice.example.org"),
    "another action": _replace_in_url("/turn?", "/status?"),
    "another state token": _replace_in_url("state=Wy", "state=Xy"),
    "no state token": _replace_in_url(f"state={STATE.replace('=', '%3D')}&", ""),
    "another verb": _replace_in_url("verb=gather", "verb=record"),
    "an additional query parameter": _replace_in_url("verb=gather", "verb=gather&x=1"),
    "the query in another order": lambda request: replace(
        request,
        url=request.url.replace("?state=", "?verb=gather&state=").removesuffix("&verb=gather"),
    ),
    "fields in the query": lambda request: replace(
        request, url=f"{request.url}&{request.body.decode()}", body=b"a=b"
    ),
    "another call": _replace_fields(CallSid=f"CA{8:032x}"),
    "another caller": _replace_fields(From="+14155550177"),
    "another number": _replace_fields(To="+14155550188"),
    "another utterance": _replace_fields(SpeechResult="Transfer me"),
    "digits added to the speech": _replace_fields(Digits="1"),
    "a missing field": _replace_fields(Confidence=None),
    "a field twice": _change_body(lambda body: body + b"&SpeechResult=Hello?"),
    "a name and its value split at another place": lambda request: replace(
        request, body=request.body.replace(b"CallSid=CA", b"CallSidCA=")
    ),
    "no body": _change_body(lambda body: b""),
    "a truncated body": _change_body(lambda body: body[:-1]),
    "a body in UTF-16": _change_body(lambda body: body.decode().encode("utf-16")),
    "a body that is no UTF-8": _change_body(lambda body: body + b"&x=%ff"),
    "a body with a NUL": _change_body(lambda body: body + b"&x=%00"),
    "a body of one word": _change_body(lambda body: b"hello"),
    "a body of a thousand fields": _change_body(
        lambda body: body + b"".join(b"&x%d=1" % n for n in range(1_000))
    ),
    "an enormous body": _change_body(lambda body: body + b"&x=" + b"y" * 70_000),
    "a form with the content type of JSON": _set_content_type("application/json"),
    "a form with a multipart content type": _set_content_type("multipart/form-data; boundary=x"),
    "signed JSON": _send_signed_json,
}


def test_there_are_at_least_30_forgeries() -> None:
    assert len(FORGERIES) >= 30


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_rejected(forge: Forgery) -> None:
    request = genuine_request()
    ADAPTER.parse(request)
    ADAPTER.verify(request)
    forged_request = forge(request)

    with pytest.raises((InvalidCarrierSignature, InvalidCarrierRequest)):
        _parse_and_verify(forged_request)


def _parse_and_verify(request: CarrierRequest) -> None:
    ADAPTER.parse(request)
    ADAPTER.verify(request)


def test_the_default_port_in_the_signed_url_is_optional() -> None:
    with_port = genuine_request(TURN.replace("example.com/", "example.com:443/"))

    ADAPTER.verify(replace(with_port, url=TURN))


def test_during_a_rotation_both_auth_tokens_are_accepted() -> None:
    new_login = TwilioCredentials(ACCOUNT_LOGIN.account_sid, f"{9:032x}")
    adapter = TwilioAdapter(
        (new_login, ACCOUNT_LOGIN), TwilioUrls(CALLBACK), state_signer=STATE_SIGNER
    )

    adapter.verify(genuine_request())
    adapter.verify(genuine_request(login=new_login))


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("voice", {"CallSid": None}),
        ("voice", {"CallSid": "CA1"}),
        ("voice", {"CallSid": f"RE{7:032x}"}),
        ("voice", {"To": "x" * 257}),
        ("status", {"CallStatus": None}),
        ("status", {"CallStatus": "<completed>"}),
        ("status", {"CallStatus": "x" * 40}),
        ("status", {"CallStatus": "busy", "ErrorCode": "none"}),
        ("recording", {"RecordingSid": RECORDING}),
        ("recording", {"RecordingStatus": "completed"}),
        ("recording", {"RecordingSid": "../x", "RecordingStatus": "completed"}),
        ("turn?verb=gather", {"Digits": "1w2"}),
        ("turn?verb=gather", {"Digits": "1" * 65}),
        ("turn?verb=gather", {"SpeechResult": "x" * 10_001}),
        ("turn?verb=dial", {}),
        ("turn?verb=dial", {"DialCallStatus": ""}),
        ("turn?verb=record", {"RecordingSid": "RE1"}),
        ("turn?verb=sing", {}),
        ("turn", {}),
        ("turn?verb=gather&verb=dial", {}),
        ("turn?verb=gather&state=%ff", {}),
        (f"turn?state={'x' * 2_001}&verb=gather", {}),
        ("relay", {}),
    ],
)
def test_an_invalid_but_signed_request_is_rejected(action: str, fields: dict[str, Any]) -> None:
    form = {**inbound_form(new_call_id(), to=NUMBER, caller=CALLER), **fields}

    with pytest.raises(InvalidCarrierRequest):
        ADAPTER.parse(signed_request(ACCOUNT_LOGIN, f"{CALLBACK}{action}", form))


# --- Events ----------------------------------------------------------------------------------


def _status_request(status: str, **fields: Any) -> CarrierRequest:
    form = inbound_form(f"CA{7:032x}", to=NUMBER, caller=CALLER, status=status)
    return signed_request(ACCOUNT_LOGIN, callback_url("status"), {**form, **fields})


@pytest.mark.parametrize("status", statuses.STATUSES)
def test_every_status_is_an_event_with_a_constant_key(status: str) -> None:
    expected = statuses.STATUSES[status]

    events = [ADAPTER.parse(_status_request(status, SequenceNumber=str(n))).event for n in (0, 1)]

    for event in events:
        assert event is not None
        assert (event.event_type, event.end_reason) == expected
        assert event.key == f"{status}-CA{7:032x}"


def test_an_unknown_status_is_recorded_and_does_not_end_the_call() -> None:
    event = ADAPTER.parse(_status_request("on-the-moon")).event

    assert event is not None
    assert (event.event_type, event.end_reason) == ("INITIATED", None)
    assert event.details == {"carrier_status": "on-the-moon"}


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({}, None),
        ({"SipResponseCode": "486"}, "SIP 486"),
        ({"ErrorCode": "13224", "SipResponseCode": "404"}, "13224"),
    ],
)
def test_an_end_has_the_code_of_the_carrier(fields: dict[str, str], detail: str | None) -> None:
    event = ADAPTER.parse(_status_request("failed", **fields)).event

    assert event is not None
    assert event.end_detail == detail


def test_a_status_has_the_time_that_twilio_sends() -> None:
    event = ADAPTER.parse(
        _status_request("completed", Timestamp="Sun, 22 Nov 2026 19:30:00 +0100")
    ).event

    assert event is not None
    assert event.timestamp == datetime(2026, 11, 22, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", [None, "", "yesterday", "Sun, 22 Nov 9999 19:30:00 +0000"])
def test_a_status_without_a_valid_time_has_the_current_time(text: str | None) -> None:
    event = ADAPTER.parse(_status_request("completed", Timestamp=text)).event

    assert event is not None
    assert abs(event.timestamp - clock.now()) < timedelta(minutes=1)


def test_silence_is_an_empty_utterance() -> None:
    carrier_event = ADAPTER.parse(genuine_request(SpeechResult=None, Confidence=None))

    assert (carrier_event.kind, carrier_event.speech, carrier_event.state) == ("speech", "", STATE)


def test_a_leg_with_an_unknown_status_has_failed() -> None:
    url = callback_url("turn", state=STATE, verb="dial")

    assert ADAPTER.parse(genuine_request(url, DialCallStatus="on-the-moon")).leg == "failed"


def test_an_empty_voicemail_has_no_recording() -> None:
    carrier_event = ADAPTER.parse(genuine_request(callback_url("turn", state=STATE, verb="record")))

    assert (carrier_event.kind, carrier_event.recording_id) == ("voicemail", None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("completed", "recording"),
        ("absent", "recording"),
        ("failed", "recording"),
        ("in-progress", "status"),
    ],
)
def test_a_recording_status_does_not_end_the_call(status: str, kind: str) -> None:
    fields = {"CallSid": new_call_id(), "RecordingSid": RECORDING, "RecordingStatus": status}

    carrier_event = ADAPTER.parse(
        signed_request(ACCOUNT_LOGIN, callback_url("recording", state=STATE), fields)
    )

    assert carrier_event.kind == kind
    assert carrier_event.event is None or carrier_event.event.event_type == "INITIATED"


def test_own_number_is_the_tenants_number_for_outbound_and_inbound_calls() -> None:
    url, call = callback_url("voice", state=STATE), new_call_id()
    outbound = signed_request(ACCOUNT_LOGIN, url, outbound_form(call, to=CALLER, caller=NUMBER))
    inbound = signed_request(
        ACCOUNT_LOGIN, url, inbound_form(call, to=NUMBER, caller=CALLER, status="ringing")
    )

    carrier_events = [ADAPTER.parse(request) for request in (outbound, inbound)]

    assert [carrier_event.kind for carrier_event in carrier_events] == ["answered", "call"]
    assert [carrier_event.own_number for carrier_event in carrier_events] == [NUMBER, NUMBER]


def test_a_webrtc_client_calls_the_number_in_its_token() -> None:
    form = inbound_form(new_call_id(), to="", caller="client:bob", status="ringing")

    carrier_event = ADAPTER.parse(
        signed_request(ACCOUNT_LOGIN, callback_url("voice"), {**form, "VcaNumber": NUMBER})
    )

    assert (carrier_event.called_number, carrier_event.own_number) == (NUMBER, NUMBER)
    assert carrier_event.caller == Caller(None, "other")
