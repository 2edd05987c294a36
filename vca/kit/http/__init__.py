"""HTTP requests to URLs that tenants supply, protected against server-side request forgery (SSRF).

`urls` parses a URL, `policy` checks it and its addresses, `resolver` resolves its name,
`connection` is the socket, `client` sends the request, and `deadline` bounds the whole. A URL is
checked when it is saved and again when it is used. Each request resolves the name once, checks
every address, and connects only to these addresses. A DNS answer that changes in between (DNS
rebinding) therefore has no effect.
"""

from vca.kit.http.client import TIMEOUT_S, HttpResponse, OutgoingClient
from vca.kit.http.connection import MAX_BYTES
from vca.kit.http.errors import OutgoingError, RequestForbidden, RequestTimeout, Unreachable
from vca.kit.http.policy import UrlPolicy
from vca.kit.http.resolver import Resolver

__all__ = [
    "MAX_BYTES",
    "TIMEOUT_S",
    "HttpResponse",
    "OutgoingClient",
    "OutgoingError",
    "RequestForbidden",
    "RequestTimeout",
    "Resolver",
    "Unreachable",
    "UrlPolicy",
]
