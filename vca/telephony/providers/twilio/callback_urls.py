"""The URLs that we give Twilio: one of our actions, and a query that comes back unchanged.

A URL with a query is signed as a whole: Twilio's signature only says that the account sent it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.state_signature import StateSigner

_PURPOSE = "twilio url"
_SIGNED_PARAMETERS = ("reference", "state", "verb")
_SIGNATURE = "signature"


@dataclass(frozen=True)
class CallbackUrls:
    """The URLs below a base, which ends in a slash."""

    base: str
    signer: StateSigner = field(repr=False)

    def build(self, action: str, **parameters: str | None) -> str:
        """Return the URL for a request from Twilio, with the parameters that are not None.

        They are `reference`, for people who read Twilio's logs, `state` and `verb`. All parameters
        are in alphabetical order: Twilio sorts them before it sends the request, but signs the URL
        that it was given (github.com/twilio/twilio-php/issues/790).
        """
        query = {name: value for name, value in parameters.items() if value is not None}
        if not query:
            return f"{self.base}{action}"
        query[_SIGNATURE] = self.signer.sign(_PURPOSE, _signed_values(action, query))
        return f"{self.base}{action}?{urlencode(sorted(query.items()), quote_via=quote)}"


def is_signed(action: str, query: Mapping[str, str], signer: StateSigner) -> bool:
    """Return whether we have made the URL with this action and query."""
    signature = query.get(_SIGNATURE, "")
    return signer.is_valid(signature, _PURPOSE, _signed_values(action, query))


def _signed_values(action: str, query: Mapping[str, str]) -> list[Any]:
    return [action, *(query.get(name) for name in _SIGNED_PARAMETERS)]


def parse_query(url: str) -> dict[str, str]:
    """Return the parameters of a URL's query.

    Raises InvalidCarrierRequest if they cannot be ours.
    """
    query = urlsplit(url).query
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise InvalidCarrierRequest("the query is malformed") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise InvalidCarrierRequest("a query parameter is repeated")
    return parameters
