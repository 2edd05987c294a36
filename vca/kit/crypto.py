"""Keyed hashes, signed tokens and random text."""

import hashlib
import hmac
import secrets
from functools import lru_cache
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class BadSignature(ValueError):
    """The signature is missing or invalid."""


def random_text(length: int) -> str:
    """Return `length` base-62 characters, 5.95 bits each, from the system's random generator."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def keyed_hash(key: str, text: str) -> bytes:
    """Return the HMAC-SHA-256 of the text, 32 bytes."""
    return hmac.digest(key.encode(), text.encode(), hashlib.sha256)


def equal(first: bytes, second: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(first, second)


def sign(secret: str, value: Any, *, purpose: str) -> str:
    """Return a URL-safe signed token with `value` in plain text, valid for one `purpose` only."""
    return str(_serializer(secret, purpose).dumps(value))


def unsign(secret: str, token: str, *, purpose: str) -> Any:
    """Return the value of a token made by `sign`; raises BadSignature."""
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
