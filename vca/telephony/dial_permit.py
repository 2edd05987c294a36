"""The permission to dial one number, and a token of it for commands that a carrier defers."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from vca.telephony.state_signature import StateSigner

# How long a deferred command may use a permission. Afterwards VCA checks the dial policy again.
TOKEN_TTL = timedelta(seconds=60)
_PURPOSE = "dial permit"
_MAX_DIGITS = 12


@dataclass(frozen=True)
class DialPermit:
    """The permission to dial `number` now. Only `dialling.permit` creates one, after its checks.

    Adapters take it instead of a number, so that nothing is dialled without a decision.
    """

    number: str


def sign(permit: DialPermit, signer: StateSigner, *, call: str, now: datetime) -> str:
    """Return the permission as a token that is valid for one call of the carrier for 60 s."""
    expires_at = int((now + TOKEN_TTL).timestamp())
    return f"{expires_at}.{signer.sign(_PURPOSE, [permit.number, call, expires_at])}"


def is_signed_for(
    token: object, signer: StateSigner, *, number: str, call: str, now: datetime
) -> bool:
    """Return whether a token permits dialling this number from this call now."""
    if not isinstance(token, str):
        return False
    expires_at, _, signature = token.partition(".")
    if not (expires_at.isascii() and expires_at.isdigit() and len(expires_at) <= _MAX_DIGITS):
        return False
    values = [number, call, int(expires_at)]
    return now.timestamp() < int(expires_at) and signer.is_valid(signature, _PURPOSE, values)
