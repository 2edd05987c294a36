"""Signatures, held against the verifier that receivers use."""

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


def _signed(*secrets: str, **changed: Any) -> dict[str, str]:
    return headers(secrets, **{"id": ID, "sent_at": clock.now(), "body": BODY, **changed})


def test_the_specifications_own_example_is_signed_as_it_says() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    found = headers(
        [secret],
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        sent_at=datetime.fromtimestamp(1614265330, UTC),
        body=b'{"test": 2432232314}',
    )

    assert found == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text())
def test_a_receiver_with_the_official_library_accepts_what_we_sign(text: str) -> None:
    body = text.encode(errors="replace")
    secret = new_secret()

    found = _signed(secret, body=body)

    Webhook(secret).verify(body, found, json_parse=False)
    verify([secret], headers=found, body=body, now=clock.now())


def test_during_a_rotation_the_old_and_the_new_secret_are_both_accepted() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()

    found = _signed(new, old)

    assert len(found["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        Webhook(secret).verify(BODY, found)
        verify([secret], headers=found, body=BODY, now=clock.now())
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(BODY, found)
    with pytest.raises(BadSignature):
        verify([other], headers=found, body=BODY, now=clock.now())


def test_we_accept_what_the_official_library_signs() -> None:
    secret, now = new_secret(), clock.now()
    signature = Webhook(secret).sign(ID, now, BODY.decode())
    given = {
        "Webhook-Id": ID,
        "WEBHOOK-TIMESTAMP": str(int(now.timestamp())),
        "webhook-signature": f"v1a,x v1,AAAA {signature}",
    }

    verify([new_secret(), secret], headers=given, body=BODY, now=now)


def test_another_time_zone_is_the_same_moment() -> None:
    secret, now = new_secret(), clock.now()
    elsewhere = now.astimezone(timezone(timedelta(hours=9)))

    assert _signed(secret, sent_at=now) == _signed(secret, sent_at=elsewhere)


def _changed(name: str, value: str) -> Callable[[dict[str, str]], None]:
    return lambda given: given.update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        *(lambda given, name=name: given.pop(name) for name in _signed(new_secret())),
        _changed("webhook-id", "another"),
        _changed("webhook-id", ""),
        _changed("webhook-id", f"{ID}.1"),
        _changed("webhook-timestamp", "1"),
        _changed("webhook-timestamp", "0"),
        _changed("webhook-timestamp", ""),
        _changed("webhook-timestamp", "-1"),
        _changed("webhook-timestamp", "nan"),
        _changed("webhook-timestamp", "١٦١٤٢٦٥٣٣٠"),
        _changed("webhook-timestamp", "9" * 5000),
        _changed("webhook-signature", ""),
        _changed("webhook-signature", "v1,"),
        _changed("webhook-signature", "v1"),
        _changed("webhook-signature", "v1,not base64 ,,, v1,ä \ud800"),
        _changed("webhook-signature", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ],
)
def test_whatever_was_changed_is_a_bad_signature_and_nothing_else(
    change: Callable[[dict[str, str]], None],
) -> None:
    secret = new_secret()
    found = _signed(secret)
    change(found)

    with pytest.raises(BadSignature):
        verify([secret], headers=found, body=BODY, now=clock.now())


def test_a_signature_is_of_its_version_and_its_body() -> None:
    secret = new_secret()
    found = _signed(secret)

    with pytest.raises(BadSignature):
        verify([secret], headers=found, body=BODY + b" ", now=clock.now())
    found["webhook-signature"] = found["webhook-signature"].replace("v1,", "v2,")
    with pytest.raises(BadSignature):
        verify([secret], headers=found, body=BODY, now=clock.now())


@pytest.mark.parametrize(
    ("off_s", "accepted"), [(-301, False), (-299, True), (299, True), (301, False)]
)
def test_five_minutes_off_are_too_many(off_s: int, accepted: bool) -> None:
    secret, now = new_secret(), clock.now()
    found = _signed(secret, sent_at=now.replace(microsecond=0))
    there = now.replace(microsecond=0) + timedelta(seconds=off_s)

    if accepted:
        verify([secret], headers=found, body=BODY, now=there)
    else:
        with pytest.raises(BadSignature):
            verify([secret], headers=found, body=BODY, now=there)


def test_a_secret_is_fresh_and_reads_back() -> None:
    one, two = new_secret(), new_secret()

    assert one != two
    assert one.startswith("whsec_")
    assert len(decode_secret(one)) == 32


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_from_elsewhere_is_read(size: int) -> None:
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
def test_what_is_no_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError) as raised:
        decode_secret(secret)

    assert str(raised.value) == "must be whsec_ followed by 24 to 64 bytes in base64"
    with pytest.raises(ValueError):
        _signed(secret)


@pytest.mark.parametrize("id", ["", "a.b", "a b", "a\r\nb", "ä", "x" * 256])
def test_an_id_that_could_be_read_in_two_ways_is_not_signed(id: str) -> None:
    with pytest.raises(ValueError):
        _signed(new_secret(), id=id)


def test_nothing_goes_out_unsigned() -> None:
    with pytest.raises(ValueError):
        _signed()
