"""Sign requests as Telnyx does, with a real key."""

import base64
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vca.kit import clock, json
from vca.telephony.types import CarrierRequest

EVENTS_URL = "https://voice.example.com/vca/telephony/telnyx/events"


@dataclass(frozen=True)
class Signer:
    """The key pair of an account."""

    private_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_key(self) -> str:
        """Return the public key in the format that Telnyx's Mission Control shows."""
        raw = self.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(raw).decode()

    def headers(self, body: bytes, *, signed_at: datetime | None = None) -> dict[str, str]:
        """Return the headers of an authentic request, signed at that time."""
        seconds = str(int((signed_at or clock.now()).timestamp()))
        signature = self.private_key.sign(f"{seconds}|".encode() + body)
        return {
            "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
            "telnyx-timestamp": seconds,
        }

    def request(
        self, event: Any, *, url: str = EVENTS_URL, signed_at: datetime | None = None
    ) -> CarrierRequest:
        """Return the signed request of an event."""
        body = event if isinstance(event, bytes) else json.dumps(event)
        return CarrierRequest("events", url, self.headers(body, signed_at=signed_at), body)
