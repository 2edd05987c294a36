"""Tests of Telnyx signatures: key, age and application of a request, and forgeries."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fakes.carriers.telnyx.accounts import STATE_SIGNER, leg_event
from tests.fakes.carriers.telnyx.calls import CONNECTION_ID
from tests.fakes.carriers.telnyx.signing import Signer
from vca.kit import clock, json
from vca.telephony.adapter import InvalidCarrierSignature
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.telnyx.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER
from vca.telephony.types import CarrierRequest

SIGNER, OTHER_SIGNER, PREVIOUS_SIGNER = Signer(), Signer(), Signer()
INITIATED = leg_event("call.initiated", direction="incoming")
# Points of small order. Without a strict check any signature is valid for these keys.
WEAK_KEYS = (
    bytes(32),
    bytes([1, *bytes(31)]),
    bytes([1, *bytes(30), 0x80]),
    bytes([0xEC, *[0xFF] * 30, 0x7F]),
    bytes([0xEE, *[0xFF] * 31]),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
)


def create_adapter(*keys: str, connection_id: str = CONNECTION_ID) -> TelnyxAdapter:
    return TelnyxAdapter(
        api_client=ApiClient(""),
        state_signer=STATE_SIGNER,
        public_keys=keys or (SIGNER.public_key,),
        connection_ids=(connection_id,),
    )


def _set_header(request: CarrierRequest, name: str, text: str) -> CarrierRequest:
    return replace(request, headers={**request.headers, name: text})


def _set_signature(request: CarrierRequest, signature: bytes) -> CarrierRequest:
    return _set_header(request, SIGNATURE_HEADER, base64.b64encode(signature).decode())


def _sign_with_age(**age: float) -> CarrierRequest:
    return SIGNER.request(INITIATED, signed_at=clock.now() - timedelta(**age))


def _forgeries() -> Iterator[tuple[str, CarrierRequest]]:
    request = SIGNER.request(INITIATED)
    signature = base64.b64decode(request.headers[SIGNATURE_HEADER])
    timestamp = request.headers[TIMESTAMP_HEADER]
    other_event = leg_event("call.initiated", direction="incoming", call_id="v3:another")
    yield "no headers", replace(request, headers={})
    yield "no signature", replace(request, headers={TIMESTAMP_HEADER: timestamp})
    yield (
        "no timestamp",
        replace(request, headers={SIGNATURE_HEADER: request.headers[SIGNATURE_HEADER]}),
    )
    yield "an empty signature", _set_header(request, SIGNATURE_HEADER, "")
    yield "a signature of no bytes", _set_signature(request, b"")
    yield "zeros", _set_signature(request, bytes(64))
    yield "half a signature", _set_signature(request, signature[:32])
    yield "one byte less", _set_signature(request, signature[:-1])
    yield "one byte more", _set_signature(request, signature + b"\0")
    yield "two signatures", _set_signature(request, signature + signature)
    yield (
        "swapped halves of the signature",
        _set_signature(request, signature[32:] + signature[:32]),
    )
    yield "a flipped bit of R", _set_signature(request, bytes([signature[0] ^ 1]) + signature[1:])
    yield (
        "a flipped bit of S",
        _set_signature(request, signature[:32] + bytes([signature[32] ^ 1]) + signature[33:]),
    )
    yield (
        "the order added to S",
        _set_signature(request, signature[:32] + _add_order(signature[32:])),
    )
    yield "a signature in hex", _set_header(request, SIGNATURE_HEADER, signature.hex())
    yield (
        "base64 for URLs",
        _set_header(request, SIGNATURE_HEADER, base64.urlsafe_b64encode(b"\xff" * 64).decode()),
    )
    yield (
        "base64 with a trailing character",
        _set_header(request, SIGNATURE_HEADER, f"{request.headers[SIGNATURE_HEADER]}!"),
    )
    yield (
        "base64 with a trailing newline",
        _set_header(request, SIGNATURE_HEADER, f"{request.headers[SIGNATURE_HEADER]}\n"),
    )
    yield "no base64", _set_header(request, SIGNATURE_HEADER, "é")
    yield (
        "a list of two signatures",
        _set_header(request, SIGNATURE_HEADER, f"{request.headers[SIGNATURE_HEADER]},AAAA"),
    )
    yield "a signature by another key", OTHER_SIGNER.request(INITIATED)
    yield "another body", replace(request, body=json.dumps(other_event))
    yield "no body", replace(request, body=b"")
    yield "a body with a trailing space", replace(request, body=request.body + b" ")
    yield (
        "the same JSON with other spaces",
        replace(request, body=request.body.replace(b":", b": ", 1)),
    )
    yield "another timestamp", _set_header(request, TIMESTAMP_HEADER, str(int(timestamp) + 1))
    yield "a timestamp with a leading zero", _set_header(request, TIMESTAMP_HEADER, f"0{timestamp}")
    yield "a timestamp with a sign", _set_header(request, TIMESTAMP_HEADER, f"+{timestamp}")
    yield "a timestamp with a fraction", _set_header(request, TIMESTAMP_HEADER, f"{timestamp}.0")
    yield (
        "a timestamp in Arabic digits",
        _set_header(
            request,
            TIMESTAMP_HEADER,
            timestamp.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
        ),
    )
    yield "a timestamp that is no number", _set_header(request, TIMESTAMP_HEADER, "now")
    yield "a timestamp out of range", _set_header(request, TIMESTAMP_HEADER, "9" * 400)
    yield "a request that is too old", _sign_with_age(seconds=302)
    yield "a request from yesterday", _sign_with_age(days=1)
    yield "a request from the future", _sign_with_age(seconds=-302)
    yield (
        "a request of another application",
        SIGNER.request(leg_event("call.initiated", connection_id="999")),
    )
    yield "a body that is no event", SIGNER.request(b"{}")
    yield "a body that is no JSON", SIGNER.request(b"data=1")
    yield "a digit of the timestamp moved into the body", _move_digit_into_body(request)


def _add_order(scalar: bytes) -> bytes:
    """Add the group order; a check that accepts unreduced numbers sees the same scalar."""
    order = 2**252 + 27742317777372353535851937790883648493
    return ((int.from_bytes(scalar, "little") + order) % 2**256).to_bytes(32, "little")


def _move_digit_into_body(request: CarrierRequest) -> CarrierRequest:
    timestamp = request.headers[TIMESTAMP_HEADER]
    body = timestamp[-1:].encode() + b"|" + request.body
    return replace(_set_header(request, TIMESTAMP_HEADER, timestamp[:-1]), body=body)


FORGERY_NAMES = tuple(name for name, _ in _forgeries())


def test_there_are_at_least_30_forgeries() -> None:
    assert len(set(FORGERY_NAMES)) >= 30


@pytest.mark.parametrize("name", FORGERY_NAMES)
def test_a_forgery_is_rejected(name: str) -> None:
    forged_request = dict(_forgeries())[name]

    with pytest.raises(InvalidCarrierSignature):
        create_adapter().verify(forged_request)


def test_telnyxs_own_check_accepts_a_genuine_request() -> None:
    # This module takes seconds to load, so only this test imports it.
    from telnyx.lib.webhook_verification import verify_webhook_signature

    request = SIGNER.request(INITIATED)

    create_adapter().verify(request)

    verify_webhook_signature(request.body, request.headers, SIGNER.public_key)


@pytest.mark.parametrize("seconds", [-298, 0, 298])
def test_clocks_may_differ_by_five_minutes(seconds: int) -> None:
    create_adapter().verify(_sign_with_age(seconds=seconds))


def test_during_a_rotation_both_keys_are_accepted() -> None:
    adapter = create_adapter(SIGNER.public_key, PREVIOUS_SIGNER.public_key)

    adapter.verify(SIGNER.request(INITIATED))
    adapter.verify(PREVIOUS_SIGNER.request(INITIATED))
    with pytest.raises(InvalidCarrierSignature):
        adapter.verify(OTHER_SIGNER.request(INITIATED))


@pytest.mark.parametrize("key", WEAK_KEYS, ids=range(len(WEAK_KEYS)))
def test_no_forged_signature_is_valid_for_a_weak_key(key: bytes) -> None:
    adapter, request = create_adapter(base64.b64encode(key).decode()), SIGNER.request(INITIATED)

    for signature in (bytes(64), bytes([1, *bytes(63)]), key + bytes(32)):
        with pytest.raises(InvalidCarrierSignature):
            adapter.verify(_set_signature(request, signature))


def test_without_a_configured_application_any_application_is_accepted() -> None:
    create_adapter(connection_id="").verify(
        SIGNER.request(leg_event("call.answered", connection_id="999"))
    )


def test_an_event_without_an_application_is_accepted() -> None:
    event = leg_event("call.hangup")
    del event["data"]["payload"]["connection_id"]

    create_adapter().verify(SIGNER.request(event))
