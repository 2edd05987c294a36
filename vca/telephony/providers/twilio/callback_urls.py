"""The URLs that we give Twilio: one of our actions, and a query that comes back as it is."""

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from vca.telephony.adapter import InvalidCarrierRequest


def build_callback_url(
    base: str,
    action: str,
    *,
    reference: str | None = None,
    state: str | None = None,
    verb: str | None = None,
) -> str:
    """Where a request of Twilio's shall go; a `reference` is for whoever reads Twilio's logs.

    Names are in alphabetical order: Twilio puts them so before it asks, and signs what it was given
    (github.com/twilio/twilio-php/issues/790).
    """
    parameters = [("reference", reference), ("state", state), ("verb", verb)]
    query = urlencode([pair for pair in parameters if pair[1] is not None], quote_via=quote)
    return f"{base}{action}?{query}" if query else f"{base}{action}"


def parse_query(url: str) -> dict[str, str]:
    """What came back in a URL's query; raises BadCarrierRequest for what we did not give."""
    query = urlsplit(url).query
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise InvalidCarrierRequest("the query cannot be read") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise InvalidCarrierRequest("the query says a thing twice")
    return parameters
