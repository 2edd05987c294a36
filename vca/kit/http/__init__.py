"""Requests to URLs that tenants give us: judged when saved and when sent, connected as judged.

`target` reads a URL, `allowed` judges it and its addresses, `names` looks them up, `line` is the
connection, `client` the request; `waiting` holds all of it to one deadline. A name is looked up
once for each request, every address of it is judged, and the socket goes to those, so an answer of
the name service that changes in between changes nothing.
"""

from vca.kit.config import Settings
from vca.kit.http.allowed import Allowed
from vca.kit.http.client import TIMEOUT_S, Answer, OutgoingClient
from vca.kit.http.errors import OutgoingError, Refused, TooSlow, Unreachable
from vca.kit.http.line import MAX_BYTES
from vca.kit.http.names import Names

__all__ = [
    "MAX_BYTES",
    "TIMEOUT_S",
    "Allowed",
    "Answer",
    "Names",
    "OutgoingClient",
    "OutgoingError",
    "Refused",
    "TooSlow",
    "Unreachable",
    "current",
    "opened",
    "use",
]
_client: OutgoingClient | None = None


def opened(settings: Settings) -> OutgoingClient:
    """The client that the settings allow; nothing is connected yet."""
    return OutgoingClient(Allowed(settings.webhook_allowed_networks, settings.webhook_allow_http))


def use(client: OutgoingClient) -> OutgoingClient:
    """The client of this process."""
    global _client
    _client = client
    return client


def current() -> OutgoingClient:
    """The process's client; raises LookupError before `use`."""
    if _client is None:
        raise LookupError("no outgoing client is in use")
    return _client
