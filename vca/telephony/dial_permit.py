"""The permission to dial one number, and its sealed form for commands that a carrier defers."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from vca.kit import crypto

# How long a deferred command may use a permission. Afterwards VCA asks for it again.
SEALED_TTL = timedelta(seconds=60)
_PURPOSE = "dial-permit"


@dataclass(frozen=True)
class DialPermit:
    """The permission to dial `number` now. Only `dialling.permit` creates one, after it has asked.

    Adapters take it instead of a number, so that nothing is dialled without a decision.
    """

    number: str


def seal(permit: DialPermit, *, secret: str, call: str, now: datetime) -> str:
    """Return the permission as a token that is valid for one call of the carrier for 60 s."""
    expires_at = (now + SEALED_TTL).timestamp()
    return crypto.sign(secret, [permit.number, call, expires_at], purpose=_PURPOSE)


def is_sealed_for(token: object, *, secret: str, number: str, call: str, now: datetime) -> bool:
    """Return whether a token permits dialling this number from this call now."""
    if not isinstance(token, str):
        return False
    try:
        sealed_number, sealed_call, expires_at = crypto.unsign(secret, token, purpose=_PURPOSE)
    except (crypto.BadSignature, TypeError, ValueError):
        return False
    is_current = isinstance(expires_at, float) and now.timestamp() < expires_at
    return is_current and (sealed_number, sealed_call) == (number, call)
