"""Sign what we give a carrier and it returns to us: URLs and the states of legs.

A carrier's own signature says who sent a request, but not who chose the state in it: a browser or a
tenant may have. Our signature covers the whole state, so that nobody else can make or combine one.
"""

import base64
from collections.abc import Sequence
from typing import Any

from vca.kit import crypto, json


class StateSigner:
    """Sign the states of one deployment. A signature is valid for one purpose only."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def sign(self, purpose: str, values: Sequence[Any]) -> str:
        """Return the signature of JSON values, URL-safe and without a dot."""
        digest = crypto.keyed_hash(f"state|{purpose}|{self._secret}", json.dumps(values).decode())
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def is_valid(self, signature: str, purpose: str, values: Sequence[Any]) -> bool:
        """Return whether this is our signature of the values. Compares in constant time."""
        return crypto.equal(signature.encode(), self.sign(purpose, values).encode())
