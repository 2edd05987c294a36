"""Standard Webhooks signatures: the receiver can verify the sender, the integrity and the age.

The signature covers id, timestamp and body. While the secret of an endpoint is being rotated, a
request carries one signature per secret; the receiver accepts any that it can verify.
"""

import base64
import hashlib
import hmac
import re
import secrets as randomness
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from vca.kit import crypto
from vca.kit.crypto import BadSignature

PREFIX = "whsec_"
KEY_BYTES = 32
KEY_LENGTHS = range(24, 64 + 1)
TOLERANCE_S = 300

# The signed content separates the id by a full stop, so an id must not contain one.
_ID = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


def new_secret() -> str:
    """Return a secret of 256 random bits in the format that the receivers' libraries expect."""
    return PREFIX + base64.b64encode(randomness.token_bytes(KEY_BYTES)).decode()


def decode_secret(secret: str) -> bytes:
    """Return the key of a `whsec_` secret; raises ValueError."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_LENGTHS:
        raise ValueError("must be whsec_ followed by 24 to 64 bytes in base64")
    return key


def headers(secrets: Sequence[str], *, id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers of a request, signed with each of the secrets; raises ValueError.

    `id` is the same for all attempts, so that receivers can detect duplicates; `sent_at` is the
    time of this attempt.
    """
    if not _ID.fullmatch(id):
        raise ValueError("an id must be 1 to 255 characters of A-Z, a-z, 0-9, _ and -")
    if not secrets:
        raise ValueError("at least one secret is required")
    seconds = str(int(sent_at.timestamp()))
    return {
        "webhook-id": id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(_signatures(secrets, id, seconds, body)),
    }


def verify(
    secrets: Sequence[str], *, headers: Mapping[str, str], body: bytes, now: datetime
) -> None:
    """Verify a request as receivers do; raise BadSignature unless it is recent and signed."""
    lower_headers = {name.lower(): value for name, value in headers.items()}
    id, seconds = lower_headers.get("webhook-id", ""), lower_headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(id) or not _SECONDS.fullmatch(seconds):
        raise BadSignature
    if abs(now.timestamp() - int(seconds)) > TOLERANCE_S:
        raise BadSignature
    received = lower_headers.get("webhook-signature", "").encode(errors="replace").split(b" ")
    expected = [signature.encode() for signature in _signatures(secrets, id, seconds, body)]
    if not any(crypto.equal(signature, other) for signature in expected for other in received):
        raise BadSignature


def _signatures(secrets: Sequence[str], id: str, seconds: str, body: bytes) -> Iterator[str]:
    signed = f"{id}.{seconds}.".encode() + body
    for secret in secrets:
        mac = hmac.digest(decode_secret(secret), signed, hashlib.sha256)
        yield f"v1,{base64.b64encode(mac).decode()}"
