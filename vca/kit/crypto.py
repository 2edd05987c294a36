"""Keyed hashes and signed values."""

import hashlib
import hmac
import secrets
from functools import lru_cache
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class BadSignature(ValueError):
    """A value that should bear our signature does not."""


def random_text(length: int) -> str:
    """`length` characters of base 62, 5.95 bits each, from the operating system."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def keyed_hash(key: str, text: str) -> bytes:
    """HMAC-SHA-256, 32 bytes."""
    return hmac.digest(key.encode(), text.encode(), hashlib.sha256)


def equal(left: bytes, right: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left, right)


def sign(secret: str, value: Any, *, purpose: str) -> str:
    """A URL-safe token that holds `value` in the open and cannot be forged or reused elsewhere."""
    return str(_serializer(secret, purpose).dumps(value))


def unsign(secret: str, token: str, *, purpose: str) -> Any:
    """The value of a token made by `sign`; raises BadSignature."""
    try:
        return _serializer(secret, purpose).loads(token)
    except (BadData, ValueError):
        raise BadSignature from None


@lru_cache(maxsize=64)
def _serializer(secret: str, purpose: str) -> URLSafeSerializer:
    return URLSafeSerializer(
        secret,
        salt=purpose,
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )
