"""Verify Telnyx's events: Ed25519 over the timestamp and the raw body, with the account's key.

This implements the scheme that Telnyx publishes with the library that the product already uses. The
SDK has a check of its own, but importing the SDK takes longer than a caller should wait.
"""

import base64
import re
from collections.abc import Iterable
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vca.telephony.adapter import InvalidCarrierSignature
from vca.telephony.types import CarrierRequest

SIGNATURE_HEADER = "telnyx-signature-ed25519"
TIMESTAMP_HEADER = "telnyx-timestamp"
# Allows for differences between the clocks, and for the time that an event is in transit.
TOLERANCE_S = 300
# Keys of small order: anybody can sign for them. The top bit of the last byte does not matter.
_WEAK_KEYS = frozenset(
    map(
        bytes.fromhex,
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
    )
)
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


def verify_signature(request: CarrierRequest, *, keys: Iterable[bytes], now: datetime) -> None:
    """Raise InvalidCarrierSignature unless one of the keys has signed this body recently."""
    signed_at = request.headers.get(TIMESTAMP_HEADER, "")
    if not _SECONDS.fullmatch(signed_at) or not _is_recent(int(signed_at), now):
        raise InvalidCarrierSignature("the timestamp is missing or not recent")
    signature = _decode_signature(request.headers.get(SIGNATURE_HEADER, ""))
    message = signed_at.encode() + b"|" + request.body
    if not any(_is_signed_by(key, signature, message) for key in keys):
        raise InvalidCarrierSignature("the signature does not match")


def _is_recent(signed_at: int, now: datetime) -> bool:
    return abs(now.timestamp() - signed_at) <= TOLERANCE_S


def _decode_signature(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise InvalidCarrierSignature("the signature is unreadable") from None


def _is_signed_by(key: bytes, signature: bytes, message: bytes) -> bool:
    if key[:31] + bytes([key[31] & 0x7F]) in _WEAK_KEYS:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True
