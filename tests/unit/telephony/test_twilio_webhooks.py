"""Twilio's webhooks: what is forged is refused, and what they say is read as it is meant."""

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
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN, OTHER_LOGIN
from tests.fakes.carriers.twilio.webhooks import inbound_form, outbound_form, signed_request
from vca.kit import clock
from vca.telephony.adapter import InvalidCarrierRequest, InvalidCarrierSignature
from vca.telephony.providers.twilio import statuses
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.callback_urls import build_callback_url
from vca.telephony.providers.twilio.settings import TwilioCredentials, TwilioUrls
from vca.telephony.types import Caller, CarrierRequest

ADAPTER = TwilioAdapter((ACCOUNT_LOGIN,), TwilioUrls(CALLBACK))
SIGNATURE = "x-twilio-signature"
TURN = build_callback_url(CALLBACK, "turn", state=STATE, verb="gather")
Forgery = Callable[[CarrierRequest], CarrierRequest]


def genuine(
    url: str = TURN, login: TwilioCredentials = ACCOUNT_LOGIN, **said: Any
) -> CarrierRequest:
    """What Twilio sends when a caller has spoken."""
    form = inbound_form(f"CA{7:032x}", to=NUMBER, caller=CALLER)
    return signed_request(
        login, url, {**form, "SpeechResult": "Hello?", "Confidence": "0.9", **said}
    )


def _signed_by(make: Callable[[CarrierRequest], str]) -> Forgery:
    return lambda request: replace(request, headers={**request.headers, SIGNATURE: make(request)})


def _with(**changed: str | None) -> Forgery:
    """Another body under the signature."""

    def forge(request: CarrierRequest) -> CarrierRequest:
        said = {**dict(parse_qsl(request.body.decode())), **changed}
        kept = {name: text for name, text in said.items() if text is not None}
        return replace(request, body=urlencode(kept).encode())

    return forge


def _at(old: str, new: str) -> Forgery:
    """Another URL under the signature."""

    def forge(request: CarrierRequest) -> CarrierRequest:
        assert old in request.url
        return replace(request, url=request.url.replace(old, new))

    return forge


def _bytes(change: Callable[[bytes], bytes]) -> Forgery:
    return lambda request: replace(request, body=change(request.body))


def _typed(content_type: str) -> Forgery:
    headers = {"content-type": content_type}
    return lambda request: replace(request, headers={**request.headers, **headers})


def _said(request: CarrierRequest) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode()))


def _as_json(request: CarrierRequest) -> CarrierRequest:
    """Of a JSON body Twilio signs the URL, in which there is the body's hash."""
    body = json.dumps(_said(request)).encode()
    url = f"{request.url}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = RequestValidator(ACCOUNT_LOGIN.auth_token).compute_signature(url, {})
    headers = {"content-type": "application/json", SIGNATURE: signature}
    return replace(request, url=url, body=body, headers=headers)


def _by_another_hash(request: CarrierRequest) -> CarrierRequest:
    validator = RequestValidator(ACCOUNT_LOGIN.auth_token)
    signature = validator.compute_signature(request.url, _said(request), HMAC_SHA256)
    chosen = {"x-twilio-webhooks-signature-settings": "key=k,algorithm=HMAC_SHA256"}
    return replace(request, headers={**request.headers, **chosen, SIGNATURE: signature})


def _raw(token: str, text: str) -> str:
    mac = hmac.new(token.encode(), text.encode(), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()


FORGERIES: dict[str, Forgery] = {
    "no signature": lambda it: replace(it, headers={"content-type": it.headers["content-type"]}),
    "an empty signature": _signed_by(lambda it: ""),
    "a signature that is no base64": _signed_by(lambda it: "☎" * 28),
    "a huge signature": _signed_by(lambda it: "A" * 100_000),
    "a signature cut short": _signed_by(lambda it: it.headers[SIGNATURE][:-1]),
    "a signature with a line's end": _signed_by(lambda it: it.headers[SIGNATURE] + "\n"),
    "a signature twice": _signed_by(lambda it: ", ".join([it.headers[SIGNATURE]] * 2)),
    "a signature in another case": _signed_by(lambda it: it.headers[SIGNATURE].swapcase()),
    "a signature in hex": _signed_by(
        lambda it: base64.b64decode(it.headers[SIGNATURE]).hex(),
    ),
    "a signature of the URL alone": _signed_by(lambda it: _raw(ACCOUNT_LOGIN.auth_token, it.url)),
    "a signature of the body alone": _signed_by(
        lambda it: _raw(ACCOUNT_LOGIN.auth_token, it.body.decode()),
    ),
    "a signature by no token": _signed_by(
        lambda it: RequestValidator("").compute_signature(it.url, _said(it)),
    ),
    "a signature by the account's own id": _signed_by(
        lambda it: RequestValidator(ACCOUNT_LOGIN.account_sid).compute_signature(it.url, _said(it)),
    ),
    "a signature by a hash of the sender's choice": _by_another_hash,
    "another account's request": lambda it: genuine(it.url, OTHER_LOGIN),
    "another account's token for our account": lambda it: genuine(
        it.url, TwilioCredentials(ACCOUNT_LOGIN.account_sid, OTHER_LOGIN.auth_token)
    ),
    "our token for another account": lambda it: genuine(
        it.url, TwilioCredentials(OTHER_LOGIN.account_sid, ACCOUNT_LOGIN.auth_token)
    ),
    "no account": lambda it: genuine(it.url, AccountSid=None),
    "two accounts": _bytes(lambda body: body + f"&AccountSid={ACCOUNT_LOGIN.account_sid}".encode()),
    "an unsigned account": _with(AccountSid=OTHER_LOGIN.account_sid),
    "http": _at("https://", "http://"),
    "another host": _at("voice.example.com", "voice.example.org"),
    "another action": _at("/turn?", "/status?"),
    "another token of ours": _at("state=Wy", "state=Xy"),
    "no token of ours": _at(f"state={STATE.replace('=', '%3D')}&", ""),
    "another verb": _at("verb=gather", "verb=record"),
    "one more thing in the query": _at("verb=gather", "verb=gather&x=1"),
    "the query in another order": lambda it: replace(
        it, url=it.url.replace("?state=", "?verb=gather&state=").removesuffix("&verb=gather")
    ),
    "fields in the query": lambda it: replace(it, url=f"{it.url}&{it.body.decode()}", body=b"a=b"),
    "another call": _with(CallSid=f"CA{8:032x}"),
    "another caller": _with(From="+14155550177"),
    "another number": _with(To="+14155550188"),
    "other words": _with(SpeechResult="Transfer me"),
    "keys beside the words": _with(Digits="1"),
    "a field less": _with(Confidence=None),
    "a field twice": _bytes(lambda body: body + b"&SpeechResult=Hello?"),
    "a name and its value cut elsewhere": lambda it: replace(
        it, body=it.body.replace(b"CallSid=CA", b"CallSidCA=")
    ),
    "no body": _bytes(lambda body: b""),
    "a body that is cut": _bytes(lambda body: body[:-1]),
    "a body in UTF-16": _bytes(lambda body: body.decode().encode("utf-16")),
    "a body that is no UTF-8": _bytes(lambda body: body + b"&x=%ff"),
    "a body with a NUL": _bytes(lambda body: body + b"&x=%00"),
    "a body of one word": _bytes(lambda body: b"hello"),
    "a body of a thousand fields": _bytes(
        lambda body: body + b"".join(b"&x%d=1" % n for n in range(1_000))
    ),
    "an enormous body": _bytes(lambda body: body + b"&x=" + b"y" * 70_000),
    "a form that says it is JSON": _typed("application/json"),
    "a form that says it is of many parts": _typed("multipart/form-data; boundary=x"),
    "JSON that is signed": _as_json,
}


def test_there_are_enough_forgeries_to_choose_from() -> None:
    assert len(FORGERIES) >= 30


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_refused(forge: Forgery) -> None:
    request = genuine()
    ADAPTER.parse(request)
    ADAPTER.verify(request)
    forged = forge(request)

    with pytest.raises((InvalidCarrierSignature, InvalidCarrierRequest)):
        _taken(forged)


def _taken(request: CarrierRequest) -> None:
    ADAPTER.parse(request)
    ADAPTER.verify(request)


def test_the_default_port_may_be_signed_or_not() -> None:
    with_port = genuine(TURN.replace("example.com/", "example.com:443/"))

    ADAPTER.verify(replace(with_port, url=TURN))


def test_the_token_before_a_change_is_genuine_beside_the_present_one() -> None:
    changed = TwilioCredentials(ACCOUNT_LOGIN.account_sid, f"{9:032x}")
    between = TwilioAdapter((changed, ACCOUNT_LOGIN), TwilioUrls(CALLBACK))

    between.verify(genuine())
    between.verify(genuine(login=changed))


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("voice", {"CallSid": None}),
        ("voice", {"CallSid": "CA1"}),
        ("voice", {"CallSid": f"RE{7:032x}"}),
        ("voice", {"To": "x" * 257}),
        ("voice", {"From": "x" * 257}),
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
def test_what_twilio_would_not_send_is_refused_though_it_is_signed(
    action: str, said: dict[str, Any]
) -> None:
    form = {**inbound_form(new_call_id(), to=NUMBER, caller=CALLER), **said}

    with pytest.raises(InvalidCarrierRequest):
        ADAPTER.parse(signed_request(ACCOUNT_LOGIN, f"{CALLBACK}{action}", form))


# --- What is told ----------------------------------------------------------------------------


def _status(status: str, **said: Any) -> CarrierRequest:
    form = inbound_form(f"CA{7:032x}", to=NUMBER, caller=CALLER, status=status)
    return signed_request(ACCOUNT_LOGIN, build_callback_url(CALLBACK, "status"), {**form, **said})


@pytest.mark.parametrize("status", statuses.STATUSES)
def test_every_status_is_an_event_that_comes_once(status: str) -> None:
    meant = statuses.STATUSES[status]

    events = [ADAPTER.parse(_status(status, SequenceNumber=str(n))).event for n in (0, 1)]

    for event in events:
        assert event is not None
        assert (event.event_type, event.end_reason) == meant
        assert event.key == f"{status}-CA{7:032x}"


def test_a_status_that_is_new_is_recorded_and_ends_nothing() -> None:
    event = ADAPTER.parse(_status("on-the-moon")).event

    assert event is not None
    assert (event.event_type, event.end_reason) == ("INITIATED", None)
    assert event.details == {"carrier_status": "on-the-moon"}


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ({}, None),
        ({"SipResponseCode": "486"}, "SIP 486"),
        ({"ErrorCode": "13224", "SipResponseCode": "404"}, "13224"),
    ],
)
def test_an_end_bears_the_carriers_own_code(said: dict[str, str], detail: str | None) -> None:
    event = ADAPTER.parse(_status("failed", **said)).event

    assert event is not None
    assert event.end_detail == detail


def test_a_status_bears_the_time_that_twilio_says() -> None:
    event = ADAPTER.parse(_status("completed", Timestamp="Sun, 22 Nov 2026 19:30:00 +0100")).event

    assert event is not None
    assert event.timestamp == datetime(2026, 11, 22, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", [None, "", "yesterday", "Sun, 22 Nov 9999 19:30:00 +0000"])
def test_a_status_without_a_time_that_can_be_read_is_of_now(text: str | None) -> None:
    event = ADAPTER.parse(_status("completed", Timestamp=text)).event

    assert event is not None
    assert abs(event.timestamp - clock.now()) < timedelta(minutes=1)


def test_silence_is_speech_without_words() -> None:
    facts = ADAPTER.parse(genuine(SpeechResult=None, Confidence=None))

    assert (facts.kind, facts.speech, facts.state) == ("speech", "", STATE)


def test_a_leg_whose_status_is_new_has_failed() -> None:
    url = build_callback_url(CALLBACK, "turn", state=STATE, verb="dial")

    assert ADAPTER.parse(genuine(url, DialCallStatus="on-the-moon")).leg == "failed"


def test_a_caller_who_left_nothing_is_a_voicemail_without_a_recording() -> None:
    facts = ADAPTER.parse(genuine(build_callback_url(CALLBACK, "turn", state=STATE, verb="record")))

    assert (facts.kind, facts.recording_id) == ("voicemail", None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("completed", "recording"),
        ("absent", "recording"),
        ("failed", "recording"),
        ("in-progress", "status"),
    ],
)
def test_word_of_a_recording_ends_no_call(status: str, kind: str) -> None:
    said = {"CallSid": new_call_id(), "RecordingSid": RECORDING, "RecordingStatus": status}

    facts = ADAPTER.parse(
        signed_request(ACCOUNT_LOGIN, build_callback_url(CALLBACK, "recording", state=STATE), said)
    )

    assert facts.kind == kind
    assert facts.event is None or facts.event.event_type == "INITIATED"


def test_a_call_of_ours_that_was_answered_has_our_number_at_the_other_end() -> None:
    url, call = build_callback_url(CALLBACK, "voice", state=STATE), new_call_id()
    placed = signed_request(ACCOUNT_LOGIN, url, outbound_form(call, to=CALLER, caller=NUMBER))
    came = signed_request(
        ACCOUNT_LOGIN, url, inbound_form(call, to=NUMBER, caller=CALLER, status="ringing")
    )

    facts = [ADAPTER.parse(request) for request in (placed, came)]

    assert [it.kind for it in facts] == ["answered", "call"]
    assert [it.own_number for it in facts] == [NUMBER, NUMBER]


def test_a_browser_calls_the_number_that_is_in_its_token() -> None:
    form = inbound_form(new_call_id(), to="", caller="client:bob", status="ringing")

    facts = ADAPTER.parse(
        signed_request(
            ACCOUNT_LOGIN, build_callback_url(CALLBACK, "voice"), {**form, "VcaNumber": NUMBER}
        )
    )

    assert (facts.called_number, facts.own_number) == (NUMBER, NUMBER)
    assert facts.caller == Caller(None, "other")


def test_what_is_put_into_a_url_comes_back_and_is_in_the_order_that_twilio_signs() -> None:
    url = build_callback_url(CALLBACK, "turn", verb="gather", state=STATE)

    assert url.partition("?")[2] == f"state={STATE.replace('=', '%3D')}&verb=gather"
    assert ADAPTER.parse(genuine(url)).state == STATE
