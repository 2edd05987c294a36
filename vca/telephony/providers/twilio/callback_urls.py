"""The URLs that we give Twilio: one of our actions, and a query that comes back unchanged."""

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
    """Return the URL for a request from Twilio. A `reference` helps people who read Twilio's logs.

    The parameters are in alphabetical order: Twilio sorts them before it sends the request, but
    signs the URL that it was given (github.com/twilio/twilio-php/issues/790).
    """
    parameters = [("reference", reference), ("state", state), ("verb", verb)]
    query = urlencode([pair for pair in parameters if pair[1] is not None], quote_via=quote)
    return f"{base}{action}?{query}" if query else f"{base}{action}"


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
