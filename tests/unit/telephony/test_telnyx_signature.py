"""Only what Telnyx signed with this account's key, lately and for our application, is believed."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fakes.carriers.telnyx.accounts import leg_event
from tests.fakes.carriers.telnyx.calls import CONNECTION_ID
from tests.fakes.carriers.telnyx.signing import Signer
from vca.kit import clock, json
from vca.telephony.adapter import InvalidCarrierSignature
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.telnyx.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER
from vca.telephony.types import CarrierRequest

OURS, THEIRS, BEFORE = Signer(), Signer(), Signer()
RING = leg_event("call.initiated", direction="incoming")
# Points of small order: with a check that is careless any of these keys signs anything.
WEAK = (
    bytes(32),
    bytes([1, *bytes(31)]),
    bytes([1, *bytes(30), 0x80]),
    bytes([0xEC, *[0xFF] * 30, 0x7F]),
    bytes([0xEE, *[0xFF] * 31]),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
)


def adapter(*keys: str, connection_id: str = CONNECTION_ID) -> TelnyxAdapter:
    return TelnyxAdapter(
        api_client=ApiClient(""),
        public_keys=keys or (OURS.public_key,),
        connection_ids=(connection_id,),
    )


def _with(genuine: CarrierRequest, name: str, text: str) -> CarrierRequest:
    return replace(genuine, headers={**genuine.headers, name: text})


def _signed(genuine: CarrierRequest, signature: bytes) -> CarrierRequest:
    return _with(genuine, SIGNATURE_HEADER, base64.b64encode(signature).decode())


def _at(**ago: float) -> CarrierRequest:
    return OURS.request(RING, signed_at=clock.now() - timedelta(**ago))


def _forgeries() -> Iterator[tuple[str, CarrierRequest]]:
    genuine = OURS.request(RING)
    raw = base64.b64decode(genuine.headers[SIGNATURE_HEADER])
    seconds = genuine.headers[TIMESTAMP_HEADER]
    other = leg_event("call.initiated", direction="incoming", call_id="v3:another")
    yield "no headers", replace(genuine, headers={})
    yield "no signature", replace(genuine, headers={TIMESTAMP_HEADER: seconds})
    yield "no time", replace(genuine, headers={SIGNATURE_HEADER: genuine.headers[SIGNATURE_HEADER]})
    yield "an empty signature", _with(genuine, SIGNATURE_HEADER, "")
    yield "a signature of nothing", _signed(genuine, b"")
    yield "zeros", _signed(genuine, bytes(64))
    yield "half a signature", _signed(genuine, raw[:32])
    yield "one byte less", _signed(genuine, raw[:-1])
    yield "one byte more", _signed(genuine, raw + b"\0")
    yield "two signatures", _signed(genuine, raw + raw)
    yield "its halves swapped", _signed(genuine, raw[32:] + raw[:32])
    yield "a bit of R", _signed(genuine, bytes([raw[0] ^ 1]) + raw[1:])
    yield "a bit of S", _signed(genuine, raw[:32] + bytes([raw[32] ^ 1]) + raw[33:])
    yield "the order added to S", _signed(genuine, raw[:32] + _plus_order(raw[32:]))
    yield "hex", _with(genuine, SIGNATURE_HEADER, raw.hex())
    yield (
        "base64 for URLs",
        _with(genuine, SIGNATURE_HEADER, base64.urlsafe_b64encode(b"\xff" * 64).decode()),
    )
    yield (
        "base64 and more",
        _with(genuine, SIGNATURE_HEADER, f"{genuine.headers[SIGNATURE_HEADER]}!"),
    )
    yield (
        "base64 with a line end",
        _with(genuine, SIGNATURE_HEADER, f"{genuine.headers[SIGNATURE_HEADER]}\n"),
    )
    yield "no base64 at all", _with(genuine, SIGNATURE_HEADER, "é")
    yield (
        "a list of two",
        _with(genuine, SIGNATURE_HEADER, f"{genuine.headers[SIGNATURE_HEADER]},AAAA"),
    )
    yield "another key's", THEIRS.request(RING)
    yield "another body's", replace(genuine, body=json.dumps(other))
    yield "no body", replace(genuine, body=b"")
    yield "a space more", replace(genuine, body=genuine.body + b" ")
    yield "the same JSON otherwise", replace(genuine, body=genuine.body.replace(b":", b": ", 1))
    yield "another time", _with(genuine, TIMESTAMP_HEADER, str(int(seconds) + 1))
    yield "its time in other words", _with(genuine, TIMESTAMP_HEADER, f"0{seconds}")
    yield "its time with a sign", _with(genuine, TIMESTAMP_HEADER, f"+{seconds}")
    yield "its time with a fraction", _with(genuine, TIMESTAMP_HEADER, f"{seconds}.0")
    yield (
        "its time in Arabic digits",
        _with(
            genuine, TIMESTAMP_HEADER, seconds.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
        ),
    )
    yield "a time that is none", _with(genuine, TIMESTAMP_HEADER, "now")
    yield "a time beyond all", _with(genuine, TIMESTAMP_HEADER, "9" * 400)
    yield "an old one", _at(seconds=302)
    yield "yesterday's", _at(days=1)
    yield "tomorrow's", _at(seconds=-302)
    yield "another application's", OURS.request(leg_event("call.initiated", connection_id="999"))
    yield "one that is no event", OURS.request(b"{}")
    yield "one that is no JSON", OURS.request(b"data=1")
    yield "the time moved into the body", _moved(genuine)


def _plus_order(scalar: bytes) -> bytes:
    """The same number to whoever forgets to check that it is reduced."""
    order = 2**252 + 27742317777372353535851937790883648493
    return ((int.from_bytes(scalar, "little") + order) % 2**256).to_bytes(32, "little")


def _moved(genuine: CarrierRequest) -> CarrierRequest:
    seconds = genuine.headers[TIMESTAMP_HEADER]
    body = seconds[-1:].encode() + b"|" + genuine.body
    return replace(_with(genuine, TIMESTAMP_HEADER, seconds[:-1]), body=body)


HOW = tuple(how for how, _ in _forgeries())


def test_there_are_forgeries_enough() -> None:
    assert len(set(HOW)) >= 30


@pytest.mark.parametrize("how", HOW)
def test_a_forgery_is_refused(how: str) -> None:
    forged = dict(_forgeries())[how]

    with pytest.raises(InvalidCarrierSignature):
        adapter().verify(forged)


def test_what_is_genuine_is_so_to_the_vendors_own_check_too() -> None:
    # Not above: it takes seconds to load, whichever tests are run.
    from telnyx.lib.webhook_verification import verify_webhook_signature

    genuine = OURS.request(RING)

    adapter().verify(genuine)

    verify_webhook_signature(genuine.body, genuine.headers, OURS.public_key)


@pytest.mark.parametrize("seconds", [-298, 0, 298])
def test_clocks_may_differ_by_five_minutes(seconds: int) -> None:
    adapter().verify(_at(seconds=seconds))


def test_while_a_key_is_changed_both_sign() -> None:
    changing = adapter(OURS.public_key, BEFORE.public_key)

    changing.verify(OURS.request(RING))
    changing.verify(BEFORE.request(RING))
    with pytest.raises(InvalidCarrierSignature):
        changing.verify(THEIRS.request(RING))


@pytest.mark.parametrize("key", WEAK, ids=range(len(WEAK)))
def test_a_weak_key_of_an_account_signs_for_nobody_else(key: bytes) -> None:
    weak, genuine = adapter(base64.b64encode(key).decode()), OURS.request(RING)

    for signature in (bytes(64), bytes([1, *bytes(63)]), key + bytes(32)):
        with pytest.raises(InvalidCarrierSignature):
            weak.verify(_signed(genuine, signature))


def test_without_an_application_every_one_of_the_account_is_ours() -> None:
    adapter(connection_id="").verify(OURS.request(leg_event("call.answered", connection_id="999")))


def test_an_event_that_names_no_application_is_the_accounts() -> None:
    told = leg_event("call.hangup")
    del told["data"]["payload"]["connection_id"]

    adapter().verify(OURS.request(told))
