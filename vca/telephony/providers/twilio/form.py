"""Read the forms that Twilio sends, and verify their signatures.

A form also has fields that VCA never reads: a caller's name in any encoding, headers of SIP calls,
results of add-ons. Such fields may have any content and may be repeated. They only count for the
signature, which covers the bytes of all fields. A field that VCA reads must be there at most once,
in UTF-8.
"""

import base64
import hmac
from collections import defaultdict
from urllib.parse import unquote_to_bytes, urlsplit

from vca.kit import json
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import CarrierRequest

_CONTENT_TYPE = "application/x-www-form-urlencoded"
_MAX_BODY_BYTES = 64 * 1024


class Form:
    """The names and values of a form, as the bytes that were sent."""

    def __init__(self, request: CarrierRequest) -> None:
        """Raise InvalidCarrierRequest if the body is not a form."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != _CONTENT_TYPE:
            raise InvalidCarrierRequest("the content type is not a form")
        if not 0 < len(request.body) <= _MAX_BODY_BYTES:
            raise InvalidCarrierRequest("the body is empty or too large")
        parts = request.body.replace(b"+", b" ").split(b"&")
        splits = (part.partition(b"=") for part in parts if part)
        self._values: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for name, _, value in splits:
            self._values[unquote_to_bytes(name)].append(unquote_to_bytes(value))

    def get(self, name: str) -> str:
        """Return the value of a field; empty if it is missing.

        Raise InvalidCarrierRequest if it is repeated, is not UTF-8, or cannot be stored.
        """
        values = self._values.get(name.encode(), [])
        if len(values) > 1:
            raise InvalidCarrierRequest(f"{name} is repeated")
        try:
            text = values[0].decode() if values else ""
        except UnicodeDecodeError:
            raise InvalidCarrierRequest(f"{name} is not UTF-8") from None
        if not json.is_storable(text):
            raise InvalidCarrierRequest(f"{name} contains invalid characters")
        return text

    def is_signed(self, *, url: str, auth_token: str, signature: str) -> bool:
        """Return whether the token's account signed the form for this URL.

        The SDK's RequestValidator does the same, but only for text. As there, each value of a name
        counts once, in sorted order (github.com/twilio/twilio-python/issues/613), and the default
        port may be part of the signed URL or not.
        """
        from twilio.request_validator import add_port, remove_port

        parsed_url = urlsplit(url)
        fields = b"".join(
            name + value
            for name in sorted(self._values)
            for value in sorted(set(self._values[name]))
        )
        expected = [
            base64.b64encode(hmac.digest(auth_token.encode(), text.encode() + fields, "sha1"))
            for text in (remove_port(parsed_url), add_port(parsed_url))
        ]
        actual = signature.encode("utf-8", "replace")
        return any(hmac.compare_digest(candidate, actual) for candidate in expected)
