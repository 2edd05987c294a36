"""Requests to URLs that tenants give us: judged when saved and when sent, connected as judged.

`target` reads a URL, `allowed` judges it and its addresses, `names` looks them up, `line` is the
connection, `client` the request; `waiting` holds all of it to one deadline. A name is looked up
once for each request, every address of it is judged, and the socket goes to those, so an answer of
the name service that changes in between changes nothing.
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
    "current_client",
    "set_current_client",
]
_current_client: OutgoingClient | None = None


def set_current_client(client: OutgoingClient) -> OutgoingClient:
    """The client of this process."""
    global _current_client
    _current_client = client
    return client


def current_client() -> OutgoingClient:
    """The process's client; raises LookupError before `use`."""
    if _current_client is None:
        raise LookupError("no outgoing client is in use")
    return _current_client
