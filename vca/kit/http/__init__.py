"""HTTP requests that respect an address policy, one deadline and limits on what is received.

`network` has the sockets: a network backend of httpcore whose connections go only to addresses that
a policy allows. `pool` keeps idle connections, and `resolver` resolves names. `policy` has the two
policies: `UrlPolicy` for what tenants can point somewhere, `OperatorPolicy` for the operator's own
URLs.

`client` sends requests to URLs of tenants, protected against server-side request forgery (SSRF):
`urls` parses a URL, and `exchange` sends one request and reads its response (`messages`). A URL is
checked when it is saved and again when it is used. Each request resolves the name once, checks
every address, and uses only connections to these addresses. A DNS answer that changes in between
(DNS rebinding) therefore has no effect.
"""

from vca.kit.http.client import TIMEOUT_S, OutgoingClient
from vca.kit.http.errors import OutgoingError, RequestForbidden, RequestTimeout, Unreachable
from vca.kit.http.messages import MAX_BYTES, HttpResponse
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
