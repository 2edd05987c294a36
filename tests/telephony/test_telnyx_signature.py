"""Only what Telnyx signed with this account's key, lately and for our application, is believed."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from telnyx.lib.webhook_verification import verify_webhook_signature

from tests.carriers.telnyx.accounts import event
from tests.carriers.telnyx.calls import CONNECTION
from tests.carriers.telnyx.signing import Signer
from vca.kit import clock, json
from vca.telephony.adapter import SignatureRefused
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import Api
from vca.telephony.providers.telnyx.signature import SIGNATURE, TIMESTAMP
from vca.telephony.types import CarrierRequest

OURS, THEIRS, BEFORE = Signer(), Signer(), Signer()
RING = event("call.initiated", direction="incoming")
GENUINE = OURS.request(RING)
# Points of small order: with a check that is careless any of these keys signs anything.
WEAK = (bytes(32), bytes([1, *bytes(31)]), bytes([0xEC, *[0xFF] * 30, 0x7F]))


def adapter(*keys: str, connection_id: str = CONNECTION) -> TelnyxAdapter:
    return TelnyxAdapter(
        rest=Api(""), public_keys=keys or (OURS.public_key,), connection_ids=(connection_id,)
    )


def _with(**headers: str) -> CarrierRequest:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return replace(GENUINE, headers={**GENUINE.headers, **named})


def _signed(signature: bytes) -> CarrierRequest:
    return _with(telnyx_signature_ed25519=base64.b64encode(signature).decode())


def _at(**ago: float) -> CarrierRequest:
    return OURS.request(RING, at=clock.now() - timedelta(**ago))


def _forgeries() -> Iterator[tuple[str, CarrierRequest]]:
    raw = base64.b64decode(GENUINE.headers[SIGNATURE])
    seconds = GENUINE.headers[TIMESTAMP]
    other = event("call.initiated", direction="incoming", call_id="v3:another")
    yield "no headers", replace(GENUINE, headers={})
    yield "no signature", replace(GENUINE, headers={TIMESTAMP: seconds})
    yield "no time", replace(GENUINE, headers={SIGNATURE: GENUINE.headers[SIGNATURE]})
    yield "an empty signature", _with(telnyx_signature_ed25519="")
    yield "a signature of nothing", _signed(b"")
    yield "zeros", _signed(bytes(64))
    yield "half a signature", _signed(raw[:32])
    yield "one byte less", _signed(raw[:-1])
    yield "one byte more", _signed(raw + b"\0")
    yield "two signatures", _signed(raw + raw)
    yield "its halves swapped", _signed(raw[32:] + raw[:32])
    yield "a bit of R", _signed(bytes([raw[0] ^ 1]) + raw[1:])
    yield "a bit of S", _signed(raw[:32] + bytes([raw[32] ^ 1]) + raw[33:])
    yield "the order added to S", _signed(raw[:32] + _plus_order(raw[32:]))
    yield "hex", _with(telnyx_signature_ed25519=raw.hex())
    yield (
        "base64 for URLs",
        _with(telnyx_signature_ed25519=base64.urlsafe_b64encode(b"\xff" * 64).decode()),
    )
    yield "base64 and more", _with(telnyx_signature_ed25519=f"{GENUINE.headers[SIGNATURE]}!")
    yield (
        "base64 with a line end",
        _with(telnyx_signature_ed25519=f"{GENUINE.headers[SIGNATURE]}\n"),
    )
    yield "no base64 at all", _with(telnyx_signature_ed25519="é")
    yield "a list of two", _with(telnyx_signature_ed25519=f"{GENUINE.headers[SIGNATURE]},AAAA")
    yield "another key's", THEIRS.request(RING)
    yield "another body's", replace(GENUINE, body=json.dumps(other))
    yield "no body", replace(GENUINE, body=b"")
    yield "a space more", replace(GENUINE, body=GENUINE.body + b" ")
    yield "the same JSON otherwise", replace(GENUINE, body=GENUINE.body.replace(b":", b": ", 1))
    yield "another time", _with(telnyx_timestamp=str(int(seconds) + 1))
    yield "its time in other words", _with(telnyx_timestamp=f"0{seconds}")
    yield "its time with a sign", _with(telnyx_timestamp=f"+{seconds}")
    yield "its time with a fraction", _with(telnyx_timestamp=f"{seconds}.0")
    yield (
        "its time in Arabic digits",
        _with(telnyx_timestamp=seconds.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))),
    )
    yield "a time that is none", _with(telnyx_timestamp="now")
    yield "a time beyond all", _with(telnyx_timestamp="9" * 400)
    yield "an old one", _at(seconds=302)
    yield "yesterday's", _at(days=1)
    yield "tomorrow's", _at(seconds=-302)
    yield "another application's", OURS.request(event("call.initiated", connection_id="999"))
    yield "one that is no event", OURS.request(b"{}")
    yield "one that is no JSON", OURS.request(b"data=1")
    yield "the time moved into the body", _moved(seconds)


def _plus_order(scalar: bytes) -> bytes:
    """The same number to whoever forgets to check that it is reduced."""
    order = 2**252 + 27742317777372353535851937790883648493
    return ((int.from_bytes(scalar, "little") + order) % 2**256).to_bytes(32, "little")


def _moved(seconds: str) -> CarrierRequest:
    headers = {**GENUINE.headers, TIMESTAMP: seconds[:-1]}
    return replace(GENUINE, headers=headers, body=seconds[-1:].encode() + b"|" + GENUINE.body)


FORGERIES = dict(_forgeries())


def test_there_are_forgeries_enough() -> None:
    assert len(FORGERIES) >= 30


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forgery_is_refused(how: str) -> None:
    with pytest.raises(SignatureRefused):
        adapter().verify(FORGERIES[how])


def test_what_is_genuine_is_so_to_the_vendors_own_check_too() -> None:
    adapter().verify(GENUINE)

    verify_webhook_signature(GENUINE.body, GENUINE.headers, OURS.public_key)


@pytest.mark.parametrize("seconds", [-298, 0, 298])
def test_clocks_may_differ_by_five_minutes(seconds: int) -> None:
    adapter().verify(_at(seconds=seconds))


def test_while_a_key_is_changed_both_sign() -> None:
    changing = adapter(OURS.public_key, BEFORE.public_key)

    changing.verify(GENUINE)
    changing.verify(BEFORE.request(RING))
    with pytest.raises(SignatureRefused):
        changing.verify(THEIRS.request(RING))


@pytest.mark.parametrize("key", WEAK)
def test_a_weak_key_of_an_account_signs_for_nobody_else(key: bytes) -> None:
    weak = adapter(base64.b64encode(key).decode())

    with pytest.raises(SignatureRefused):
        weak.verify(_signed(bytes(64)))
    with pytest.raises(SignatureRefused):
        weak.verify(GENUINE)


def test_without_an_application_every_one_of_the_account_is_ours() -> None:
    adapter(connection_id="").verify(OURS.request(event("call.answered", connection_id="999")))


def test_an_event_that_names_no_application_is_the_accounts() -> None:
    told = event("call.hangup")
    del told["data"]["payload"]["connection_id"]

    adapter().verify(OURS.request(told))
