"""Tests of webhook signatures, with the official library that receivers use."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from vca.kit import clock
from vca.kit.crypto import BadSignature
from vca.kit.standard_webhooks import decode_secret, headers, new_secret, verify

ID = "5f6c2a0e-6b0e-4a65-9a5c-0d3c4f0f4a11"
BODY = '{"type":"call.ended","data":{"summary":"Grüße 🚑"}}'.encode()


def _sign(*secrets: str, **changes: Any) -> dict[str, str]:
    return headers(secrets, **{"id": ID, "sent_at": clock.now(), "body": BODY, **changes})


def test_the_example_of_the_specification_has_the_same_signature() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    signed_headers = headers(
        [secret],
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        sent_at=datetime.fromtimestamp(1614265330, UTC),
        body=b'{"test": 2432232314}',
    )

    assert signed_headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text())
def test_the_official_library_accepts_the_signatures(text: str) -> None:
    body = text.encode(errors="replace")
    secret = new_secret()

    signed_headers = _sign(secret, body=body)

    Webhook(secret).verify(body, signed_headers, json_parse=False)
    verify([secret], headers=signed_headers, body=body, now=clock.now())


def test_during_a_rotation_both_secrets_are_accepted() -> None:
    previous_secret, current_secret, other_secret = new_secret(), new_secret(), new_secret()

    signed_headers = _sign(current_secret, previous_secret)

    assert len(signed_headers["webhook-signature"].split(" ")) == 2
    for secret in (previous_secret, current_secret):
        Webhook(secret).verify(BODY, signed_headers)
        verify([secret], headers=signed_headers, body=BODY, now=clock.now())
    with pytest.raises(WebhookVerificationError):
        Webhook(other_secret).verify(BODY, signed_headers)
    with pytest.raises(BadSignature):
        verify([other_secret], headers=signed_headers, body=BODY, now=clock.now())


def test_signatures_of_the_official_library_are_accepted() -> None:
    secret, now = new_secret(), clock.now()
    signature = Webhook(secret).sign(ID, now, BODY.decode())
    signed_headers = {
        "Webhook-Id": ID,
        "WEBHOOK-TIMESTAMP": str(int(now.timestamp())),
        "webhook-signature": f"v1a,x v1,AAAA {signature}",
    }

    verify([new_secret(), secret], headers=signed_headers, body=BODY, now=now)


def test_a_signature_does_not_depend_on_the_time_zone() -> None:
    secret, now = new_secret(), clock.now()
    now_in_tokyo = now.astimezone(timezone(timedelta(hours=9)))

    assert _sign(secret, sent_at=now) == _sign(secret, sent_at=now_in_tokyo)


def _set_header(name: str, value: str) -> Callable[[dict[str, str]], None]:
    return lambda signed_headers: signed_headers.update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        *(
            lambda signed_headers, name=name: signed_headers.pop(name)
            for name in _sign(new_secret())
        ),
        _set_header("webhook-id", "another"),
        _set_header("webhook-id", ""),
        _set_header("webhook-id", f"{ID}.1"),
        _set_header("webhook-timestamp", "1"),
        _set_header("webhook-timestamp", "0"),
        _set_header("webhook-timestamp", ""),
        _set_header("webhook-timestamp", "-1"),
        _set_header("webhook-timestamp", "nan"),
        _set_header("webhook-timestamp", "١٦١٤٢٦٥٣٣٠"),
        _set_header("webhook-timestamp", "9" * 5000),
        _set_header("webhook-signature", ""),
        _set_header("webhook-signature", "v1,"),
        _set_header("webhook-signature", "v1"),
        _set_header("webhook-signature", "v1,not base64 ,,, v1,ä \ud800"),
        _set_header("webhook-signature", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ],
)
def test_any_changed_header_raises_bad_signature(
    change: Callable[[dict[str, str]], None],
) -> None:
    secret = new_secret()
    signed_headers = _sign(secret)
    change(signed_headers)

    with pytest.raises(BadSignature):
        verify([secret], headers=signed_headers, body=BODY, now=clock.now())


def test_a_signature_covers_the_body_and_its_version() -> None:
    secret = new_secret()
    signed_headers = _sign(secret)

    with pytest.raises(BadSignature):
        verify([secret], headers=signed_headers, body=BODY + b" ", now=clock.now())
    signed_headers["webhook-signature"] = signed_headers["webhook-signature"].replace("v1,", "v2,")
    with pytest.raises(BadSignature):
        verify([secret], headers=signed_headers, body=BODY, now=clock.now())


@pytest.mark.parametrize(
    ("offset_s", "accepted"), [(-301, False), (-299, True), (299, True), (301, False)]
)
def test_a_timestamp_may_differ_by_up_to_five_minutes(offset_s: int, accepted: bool) -> None:
    secret, now = new_secret(), clock.now()
    signed_headers = _sign(secret, sent_at=now.replace(microsecond=0))
    receiver_time = now.replace(microsecond=0) + timedelta(seconds=offset_s)

    if accepted:
        verify([secret], headers=signed_headers, body=BODY, now=receiver_time)
    else:
        with pytest.raises(BadSignature):
            verify([secret], headers=signed_headers, body=BODY, now=receiver_time)


def test_a_new_secret_is_unique_and_can_be_decoded() -> None:
    first, second = new_secret(), new_secret()

    assert first != second
    assert first.startswith("whsec_")
    assert len(decode_secret(first)) == 32


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_of_another_system_can_be_decoded(size: int) -> None:
    assert decode_secret("whsec_" + base64.b64encode(bytes(size)).decode()) == bytes(size)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        base64.b64encode(bytes(32)).decode(),
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode()[:-1],
        "whsec_not base64",
        "whsec_ä" + base64.b64encode(bytes(32)).decode(),
        "WHSEC_" + base64.b64encode(bytes(32)).decode(),
    ],
)
def test_an_invalid_secret_is_rejected_without_quoting_it(secret: str) -> None:
    with pytest.raises(ValueError) as raised:
        decode_secret(secret)

    assert str(raised.value) == "must be whsec_ followed by 24 to 64 bytes in base64"
    with pytest.raises(ValueError):
        _sign(secret)


@pytest.mark.parametrize("id", ["", "a.b", "a b", "a\r\nb", "ä", "x" * 256])
def test_an_ambiguous_id_is_not_signed(id: str) -> None:
    with pytest.raises(ValueError):
        _sign(new_secret(), id=id)


def test_signing_requires_a_secret() -> None:
    with pytest.raises(ValueError):
        _sign()
